"""Fuzzes the reader of the policy file: TOML of anybody."""

from __future__ import annotations

import re
import sys
from typing import Final

from tests.fuzz import engine

with engine.instrumented():
    from sidecar.config.policy_file import PolicyFileError, parse_policy
    from sidecar.core.callers import Directory
    from sidecar.core.errors import SettingsError

MARK: Final = "q7canary"
"""A value in the seeds, which no message may repeat."""

SEEDS: Final = (
    f"""[callers.gateway]
spiffe_id = "spiffe://example.org/{MARK}"
methods = ["IssueToken", "VerifyToken"]
subjects = ["{MARK}*", '\\*']
audiences = ["{MARK}"]
max_ttl = "10m"
rate_limit = {{ per_second = 50, burst = 100 }}
claims.tenant_id = {{ values = ["{MARK}", 1, true], required = true }}
claims.by = {{ fixed = ["{MARK}", {{ a = 1.5 }}] }}
""".encode(),
    f"""[callers.orders]
uid = [1, 2]
gid = 3
service_account = [{{ issuer = "{MARK}", namespace = "{MARK}", name = "a" }}]
key_sha256 = ["{"0" * 64}"]
methods = ["RunScopedQuery"]
sql = ["known"]
read_only = false
statement_timeout = "2s"
[callers.orders.roles]
claim = "role"
map = {{ "{MARK}" = "{MARK}" }}
[callers.orders.claims]
ns = {{ from = "namespace" }}
[callers.anonymous]
methods = []
""".encode(),
    b'"callers"."a\\u0000" = 1\n[[callers.a]]\n[callers.a]\nuid = 0x7f\n',
    b"[callers.a]\nuid = 1979-05-27T07:32:00Z\nmax_ttl = inf\nmax_rows = -0\n",
)
"""The files. A mutation of the mark may be repeated: it is another text then."""


def one(data: bytes) -> None:
    """A policy whose callers can be told apart, or a refusal that names lines and repeats no value."""
    text = data.decode("utf-8", "replace")
    try:
        policy = parse_policy(text, "p.toml", ["known"])
        Directory(policy.identities)
    except PolicyFileError as error:
        _fits(str(error), text)
    except SettingsError as error:
        raise AssertionError(f"callers that are taken and cannot be told apart: {error}") from None


def _fits(message: str, text: str) -> None:
    last = text.count("\n") + 1
    for line in message.splitlines():
        placed = re.match(r"p\.toml:(?:(\d+):| and )", line)
        assert placed, "a mistake without a line"
        assert int(placed[1] or 1) <= last, "a line that is not there"
    # What stands for a name may be shown.
    if not re.search(rf"{MARK}[^\n\"']*[=\].]", text):
        assert MARK not in message, "a message repeats a value"


if __name__ == "__main__":
    sys.exit(engine.main(one, SEEDS))
