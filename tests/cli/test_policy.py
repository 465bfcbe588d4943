"""`usher policy`, and the worked examples of docs/policy.md as they are written there."""

from __future__ import annotations

import hashlib
import re
import shlex
from pathlib import Path

import pytest

from sidecar.config import load_policy, load_statements
from tests.cli.conftest import Usher

DOCS = (Path(__file__).parent.parent.parent / "docs/policy.md").read_text()
EXAMPLES = re.findall(r"^```console\n\$ usher ([^\n]*)\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the policy and the statement that the documentation shows."""
    policy = re.search(r"^```toml\n(# policy\.toml\n.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
    statement = re.search(r"^```sql\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
    assert policy is not None
    assert statement is not None
    (tmp_path / "policy.toml").write_text(policy[1])
    (tmp_path / "statements").mkdir()
    (tmp_path / "statements/orders.sql").write_text(statement[1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_a_worked_example(usher: Usher, documented: Path, command: str, output: str) -> None:
    done = usher(*shlex.split(command))
    assert (done.out, done.err) == (output, "")
    assert done.code == (1 if "refused by" in output else 0)


def test_there_are_five_worked_examples() -> None:
    assert len(EXAMPLES) == 5


def test_the_documented_policy_and_statement_fit_each_other(usher: Usher, documented: Path) -> None:
    done = usher("policy", "check", "policy.toml", "--statements-dir", "statements")
    assert (done.code, done.out, done.err) == (0, "policy.toml: 3 callers, no mistakes\n", "")
    (documented / "statements/orders.sql").unlink()
    done = usher("policy", "check", "policy.toml", "--statements-dir", "statements")
    assert done.code == 2
    assert "callers.reports.sql[0]: there is no such named statement" in done.err
    assert usher("policy", "check", "policy.toml").code == 0
    assert load_statements(documented / "statements", 1000).names == frozenset()


def test_mistakes_have_a_line_each(usher: Usher, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text("[callers.a]\nuid = 1\nmethod = 'x'\nmax_rows = 0\n")
    done = usher("policy", "check", str(file))
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith(f"usher: {file}:3: callers.a.method: there is no such key; did you mean methods?")
    assert second.startswith(f"{file}:4: callers.a.max_rows: must be a whole number from 1")
    assert usher("policy", "check", str(tmp_path / "none")).code == 2


def explained(usher: Usher, caller: str, rpc: str, *more: str) -> str:
    return usher("policy", "explain", "--policy", "policy.toml", "--caller", caller, "--rpc", rpc, *more).out


def test_attributes_come_from_the_policy_unless_given(usher: Usher, documented: Path) -> None:
    (documented / "policy.toml").write_text(
        "[callers.a]\nspiffe_id = 'spiffe://x/a'\ndns = ['a', 'b']\nuid = 7\n"
        "methods = 'WhoAmI'\nsubjects = '*'\n"
        "claims.id = { from = 'spiffe_id' }\nclaims.dns = { from = 'dns' }\n"
    )
    assert "refused by callers.a.claims.dns" in explained(usher, "a", "WhoAmI", "--sub", "x")
    assert "a, WhoAmI: allowed" in explained(usher, "a", "WhoAmI", "--sub", "x", "--attribute", "dns=a")
    claim = ("--attribute", "dns=a", "--claim", "id=spiffe://x/a")
    assert "allowed" in explained(usher, "a", "usher.v1.QueryService/WhoAmI", "--sub", "x", *claim)


def test_callers_without_rules(usher: Usher, documented: Path) -> None:
    assert "refused by callers\n" in explained(usher, "anonymous", "WhoAmI", "--sub", "x")
    assert "refused by callers.orders.subjects" in explained(usher, "orders", "WhoAmI")
    assert "refused by callers.orders.methods" in explained(usher, "orders", "ListKeys")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--rpc", "WhoAmi"), "--rpc: there is no such method; did you mean WhoAmI?"),
        (("--rpc", "Zzz"), "--rpc: there is no such method; known are IssueToken"),
        (("--rpc", "WhoAmI", "--attribute", "colour=red"), "--attribute: write NAME=VALUE, NAME one of"),
        (("--rpc", "WhoAmI", "--sub", "x", "--claim", "sub"), "--claim: write NAME=VALUE"),
    ],
)
def test_wrong_usage(usher: Usher, documented: Path, more: tuple[str, ...], expected: str) -> None:
    done = usher("policy", "explain", "--policy", "policy.toml", "--caller", "orders", *more)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"usher: {expected}")


def test_a_new_key_and_its_hash(usher: Usher, tmp_path: Path) -> None:
    first, second = usher("policy", "new-key").out, usher("policy", "new-key").out
    assert first != second
    match = re.fullmatch(r"key         (usher_[\w-]{43})\nkey_sha256  ([0-9a-f]{64})\n", first)
    assert match is not None
    assert hashlib.sha256(match[1].encode()).hexdigest() == match[2]
    file = tmp_path / "p.toml"
    file.write_text(f"[callers.a]\nkey_sha256 = '{match[2]}'\n")
    assert load_policy(file).identities[0].key_hashes == (match[2],)
