"""What the policy costs a call: admit and decide, as CPU microseconds in this process.

Usage: python bench/policy_cost.py. Medians of several rounds, with the observer that looks away. The policy
has 100 callers; the one that asks has five claims, a role map and a rate limit.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from sidecar.config import parse_policy
from sidecar.core.callers import Caller, Proof
from sidecar.core.clock import SystemClock
from sidecar.core.events import ignore
from sidecar.core.policy import Ask, Authorizer, Principal, Run, explain

ROUNDS = 9
CALLS = 5000

ONE = """
[callers.caller{number}]
spiffe_id = "spiffe://example.org/caller{number}"
methods = ["IssueToken", "VerifyToken", "RunScopedQuery", "WhoAmI"]
subjects = ["user-*", "robot-*", "*@example.org"]
audiences = ["orders", "billing"]
sql = "free"
max_ttl = "10m"
max_rows = 500
statement_timeout = "5s"
rate_limit = {{ per_second = 1000000, burst = 1000000 }}
[callers.caller{number}.claims]
tenant_id = {{ values = ["acme", "globex-*"], required = true }}
permissions = {{ values = ["orders:*", "bills:read"] }}
app = {{ fixed = "caller{number}" }}
origin = {{ from = "spiffe_id" }}
role = {{ any = true }}
[callers.caller{number}.roles]
claim = "role"
map = {{ editor = "shop_editor" }}
"""


def main() -> None:
    policy = parse_policy("".join(ONE.format(number=number) for number in range(100)), "bench")
    authorizer = Authorizer(policy, SystemClock(), ignore)
    spiffe_id = policy.identities[50].spiffe_ids[0]
    caller = Caller(
        name="caller50",
        proof=Proof.MTLS,
        identity=spiffe_id,
        admin=False,
        attributes={"spiffe_id": spiffe_id},
    )
    claims = {
        "tenant_id": "globex-7",
        "permissions": ["orders:read", "orders:write", "bills:read"],
        "role": "editor",
    }
    principal = Principal(subject="user-7", claims=claims, audiences=("orders",))
    scope = Principal(subject="user-7", claims=claims)
    issue = Ask(method="IssueToken", principal=principal, ttl=60.0)
    query = Ask(method="RunScopedQuery", principal=scope, run=Run(free=True, max_rows=100))
    verify = Ask(method="VerifyToken")
    off = Authorizer(None, SystemClock(), ignore)
    for name, call in (
        ("admit (method, rate limit)", lambda: authorizer.admit(caller, "RunScopedQuery")),
        ("decide IssueToken", lambda: authorizer.decide(caller, issue)),
        ("decide RunScopedQuery", lambda: authorizer.decide(caller, query)),
        ("decide VerifyToken", lambda: authorizer.decide(caller, verify)),
        ("explain RunScopedQuery", lambda: explain(policy, caller, query)),
        ("admit and decide without a policy", lambda: (off.admit(caller, "x"), off.decide(caller, query))),
    ):
        print(f"{name:<36} {_microseconds(call):6.2f} us")


def _microseconds(call: Callable[[], object]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(CALLS):
            call()
        rounds.append((time.process_time() - started) / CALLS * 1e6)
    return statistics.median(rounds)


if __name__ == "__main__":
    main()
