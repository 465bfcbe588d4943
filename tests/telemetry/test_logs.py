"""Lines as an operator and a machine read them, and what must never be in one."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core import events
from sidecar.core.claims import custom_claims
from sidecar.core.errors import Reason, UsherError
from sidecar.telemetry import logs

SECRET = "s3cret-value"
DOCS = Path(__file__).parent.parent.parent / "docs/telemetry.md"


@pytest.fixture
def configured() -> Iterator[Callable[..., io.StringIO]]:
    """Configures logging into a buffer; afterwards logging is as it was."""
    root, own = logging.getLogger(), logging.getLogger(logs.LOGGER)
    before = root.handlers, root.level, own.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook

    def configure(form: str = "json", level: str = "debug") -> io.StringIO:
        stream = io.StringIO()
        logs.configure(form, level, stream)
        return stream

    with warnings.catch_warnings():
        yield configure
        logging.captureWarnings(False)
    root.handlers, level_of_root, level_of_own = before
    root.setLevel(level_of_root)
    own.setLevel(level_of_own)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    text = stream.getvalue()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def without_time(line: dict[str, Any]) -> dict[str, Any]:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    return line


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def refused_claims() -> BaseException:
    """An error that has been through our own code."""
    try:
        custom_claims({f'"{SECRET}"': 1})
    except Exception as error:
        return error
    raise AssertionError


def finished(blame: str = "", **changes: Any) -> events.RpcFinished:
    values = {
        "service": "usher.v1.TokenService",
        "method": "IssueToken",
        "code": "OK",
        "reason": "",
        "blame": blame,
        "seconds": 0.0012345678,
        "request_id": "request-1",
        "caller": "orders",
        "identity": "uid 1000 gid 1000",
    }
    return events.RpcFinished(**values | changes)


ALL_EVENTS: list[tuple[events.Event, str, dict[str, Any]]] = [
    (
        finished(),
        "debug",
        {
            "event": "rpc_finished",
            "service": "usher.v1.TokenService",
            "method": "IssueToken",
            "code": "OK",
            "reason": "",
            "blame": "",
            "seconds": 0.001235,
            "request_id": "request-1",
            "caller": "orders",
            "identity": "uid 1000 gid 1000",
        },
    ),
    (
        events.TokenIssued(alg="ES256", kid="kid-1", ttl_seconds=300),
        "debug",
        {"event": "token_issued", "alg": "ES256", "kid": "kid-1", "ttl_seconds": 300},
    ),
    (
        events.TokenReused(alg="ES256", kid="kid-1"),
        "debug",
        {"event": "token_reused", "alg": "ES256", "kid": "kid-1"},
    ),
    (
        events.TokenRefused(reason="TOKEN_EXPIRED"),
        "info",
        {"event": "token_refused", "reason": "TOKEN_EXPIRED"},
    ),
    (
        events.QueryFinished(backend="claims", outcome="ok", rows=3, truncated=False, database_seconds=0.5),
        "debug",
        {
            "event": "query_finished",
            "backend": "claims",
            "outcome": "ok",
            "rows": 3,
            "truncated": False,
            "statements": 1,
            "database_seconds": 0.5,
        },
    ),
    (
        events.KeyStepped(step="revoke", kid="kid-1", alg="ES256", forced=True),
        "info",
        {"event": "key_stepped", "step": "revoke", "kid": "kid-1", "alg": "ES256", "forced": True},
    ),
    (
        events.RotationFailed(error=UsherError(Reason.KEY_SET_FULL, "text")),
        "error",
        {"event": "rotation_failed", "error": "UsherError", "at": "", "reason": "KEY_SET_FULL"},
    ),
    (
        events.RpcFault(method="a/b", request_id="request-1", error=ValueError(SECRET)),
        "error",
        {"event": "rpc_fault", "method": "a/b", "request_id": "request-1", "error": "ValueError", "at": ""},
    ),
    (
        events.CallsRefused(count=7, inside=40),
        "warning",
        {"event": "calls_refused", "count": 7, "inside": 40},
    ),
    (
        events.JwksServed(status=200, agent="neon-proxy", version=5, count=2),
        "debug",
        {"event": "jwks_served", "status": 200, "agent": "neon-proxy", "version": 5, "count": 2},
    ),
    (
        events.KeyStoreStateChanged(kind="postgres", reachable=False, detail="does not answer"),
        "error",
        {
            "event": "key_store_state_changed",
            "kind": "postgres",
            "reachable": False,
            "detail": "does not answer",
        },
    ),
    (
        events.KeyStoreStateChanged(kind="postgres", reachable=True, detail=""),
        "info",
        {"event": "key_store_state_changed", "kind": "postgres", "reachable": True, "detail": ""},
    ),
    (events.KeyStoreConflict(version=7), "debug", {"event": "key_store_conflict", "version": 7}),
    (
        events.KeyStoreOlder(found=3, served=7),
        "error",
        {"event": "key_store_older", "found": 3, "served": 7},
    ),
    (
        events.KeyHeldBack(kid="kid-1", verifiers="neon-proxy", goes_on_at=5.0),
        "warning",
        {"event": "key_held_back", "kid": "kid-1", "verifiers": "neon-proxy", "goes_on_at": 5.0},
    ),
    (
        events.KeyActivatedUnseen(kid="kid-1", verifiers="neon-proxy"),
        "error",
        {"event": "key_activated_unseen", "kid": "kid-1", "verifiers": "neon-proxy"},
    ),
    (
        events.ClockSkewed(skew=30.5, skewed=True, signs=True),
        "warning",
        {"event": "clock_skewed", "skew": 30.5, "skewed": True, "signs": True},
    ),
    (
        events.KeySetRefused(version=4, served=5, empty=False),
        "error",
        {"event": "key_set_refused", "version": 4, "served": 5, "empty": False},
    ),
    (events.PublicHttpEnded(code=-9), "error", {"event": "public_http_ended", "code": -9}),
    (
        events.WorkerEnded(worker=1, code=-9, again_in=0.5),
        "error",
        {"event": "worker_ended", "worker": 1, "code": -9, "again_in": 0.5},
    ),
    (
        events.WorkerNotStarted(worker=1, detail="grpc_address: taken"),
        "error",
        {"event": "worker_not_started", "worker": 1, "detail": "grpc_address: taken"},
    ),
    (
        events.DatabaseStateChanged(reachable=False, detail="does not answer"),
        "warning",
        {"event": "database_state_changed", "reachable": False, "detail": "does not answer"},
    ),
    (
        events.DatabaseStateChanged(reachable=True, detail="ready"),
        "info",
        {"event": "database_state_changed", "reachable": True, "detail": "ready"},
    ),
    (
        events.ConnectionDiscarded(cause="TimeoutError"),
        "info",
        {"event": "connection_discarded", "cause": "TimeoutError"},
    ),
    (events.Lifecycle(phase="ready"), "info", {"event": "lifecycle", "phase": "ready", "detail": ""}),
    (
        events.SafetyWeakened(setting="allow_anonymous", consequence="anyone may call"),
        "warning",
        {"event": "safety_weakened", "setting": "allow_anonymous", "consequence": "anyone may call"},
    ),
    (
        events.PolicyDecided(caller="orders", method="IssueToken", verdict="allowed", rule=""),
        "debug",
        {
            "event": "policy_decided",
            "caller": "orders",
            "method": "IssueToken",
            "verdict": "allowed",
            "rule": "",
        },
    ),
    (
        events.PolicyLoaded(outcome="refused", callers=2, detail="policy.toml:3: is not TOML"),
        "error",
        {
            "event": "policy_loaded",
            "outcome": "refused",
            "callers": 2,
            "detail": "policy.toml:3: is not TOML",
        },
    ),
    (
        events.CallerRefused(proof="key", detail="authorization: the key is no caller's"),
        "info",
        {"event": "caller_refused", "proof": "key", "detail": "authorization: the key is no caller's"},
    ),
    (
        events.CallerKeysFetched(outcome="failed", keys=2, detail="TimeoutError"),
        "error",
        {"event": "caller_keys_fetched", "outcome": "failed", "keys": 2, "detail": "TimeoutError"},
    ),
    (
        events.TlsLoaded(outcome="refused", expires_at=5.0, detail="tls_key_file: gone"),
        "error",
        {"event": "tls_loaded", "outcome": "refused", "expires_at": 5.0, "detail": "tls_key_file: gone"},
    ),
    (
        events.RevocationsRead(outcome="failed", detail="the database does not answer"),
        "warning",
        {"event": "revocations_read", "outcome": "failed", "detail": "the database does not answer"},
    ),
    (
        events.TokensRevoked(by="jti", action="lift"),
        "info",
        {"event": "tokens_revoked", "by": "jti", "action": "lift"},
    ),
    (
        events.ClaimKeyLoaded(outcome="refused", detail="claim_key_file cannot be read"),
        "error",
        {"event": "claim_key_loaded", "outcome": "refused", "detail": "claim_key_file cannot be read"},
    ),
]


def test_every_event_has_its_line(configured: Callable[..., io.StringIO]) -> None:
    assert {type(event) for event, _, _ in ALL_EVENTS} == set(events.Event.__args__)
    stream = configured()
    for event, _, _ in ALL_EVENTS:
        logs.observe(event)
    assert [without_time(line) for line in lines(stream)] == [
        {"level": level} | fields for _, level, fields in ALL_EVENTS
    ]


@pytest.mark.parametrize(
    ("blame", "level"), [("", "debug"), ("caller", "info"), ("database", "warning"), ("service", "error")]
)
def test_a_failed_call_is_as_loud_as_it_is_ours(
    configured: Callable[..., io.StringIO], blame: str, level: str
) -> None:
    stream = configured()
    logs.observe(finished(blame, code="INTERNAL", reason="INTERNAL"))
    assert [line["level"] for line in lines(stream)] == [level]


@pytest.mark.parametrize("reason", ["TOO_MANY_CALLS", "DEADLINE_EXCEEDED"])
def test_a_call_that_was_not_let_in_is_not_loud(configured: Callable[..., io.StringIO], reason: str) -> None:
    """There may be thousands a second, and one line says how many. A stream too many has a caller."""
    stream = configured()
    event = finished("service", code="X", reason=reason)
    for caller in ("", "orders"):
        logs.observe(dataclasses.replace(event, caller=caller))
    assert [line["level"] for line in lines(stream)] == ["debug", "error"]


def test_what_the_policy_refuses_is_louder(
    configured: Callable[..., io.StringIO],
) -> None:
    stream = configured()
    rule = "callers.orders.subjects"
    logs.observe(events.PolicyDecided(caller="orders", method="WhoAmI", verdict="refused", rule=rule))
    logs.observe(events.PolicyLoaded(outcome="loaded", callers=1))
    logs.observe(events.TlsLoaded(outcome="loaded", expires_at=5.0))
    logs.observe(events.CallerKeysFetched(outcome="fetched", keys=1))
    logs.observe(events.RevocationsRead(outcome="read"))
    assert [line["level"] for line in lines(stream)] == ["info", "info", "info", "debug", "debug"]


def test_the_level_is_a_threshold(configured: Callable[..., io.StringIO]) -> None:
    for threshold, expected in (
        ("info", {"info", "warning", "error"}),
        ("warning", {"warning", "error"}),
        ("error", {"error"}),
    ):
        stream = configured(level=threshold)
        for event, _, _ in ALL_EVENTS:
            logs.observe(event)
        assert {line["level"] for line in lines(stream)} == expected


def test_text_is_one_readable_line(configured: Callable[..., io.StringIO]) -> None:
    stream = configured("text")
    logs.observe(events.KeyStepped(step="activate", kid="kid-1", alg="ES256"))
    logs.observe(events.DatabaseStateChanged(reachable=False, detail="it does\nnot answer"))
    logs.observe(events.Lifecycle(phase="ready"))
    first, second, third = (line.split(" ", 1)[1] for line in stream.getvalue().splitlines())
    assert first == "info     key_stepped step=activate kid=kid-1 alg=ES256 forced=false"
    assert second == 'warning  database_state_changed reachable=false detail="it does\\nnot answer"'
    assert third == "info     lifecycle phase=ready"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.sampled_from(["text", "json"]))
def test_no_text_breaks_or_forges_a_line(
    configured: Callable[..., io.StringIO], text: str, form: str
) -> None:
    stream = configured(form)
    logs.observe(events.Lifecycle(phase="ready", detail=text + "\x1b[2J\u2028\r\n2026 error forged=true"))
    written = stream.getvalue()
    assert written.isascii()
    assert written.endswith("\n")
    assert written[:-1].isprintable()


def test_auto_is_text_on_a_terminal_only(configured: Callable[..., io.StringIO]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    configured()  # for the restoring
    terminal = Terminal()
    logs.configure("auto", "info", terminal)
    logs.observe(events.Lifecycle(phase="ready"))
    assert terminal.getvalue().endswith("info     lifecycle phase=ready\n")
    stream = configured("auto")
    logs.observe(events.Lifecycle(phase="ready"))
    assert lines(stream)[0]["phase"] == "ready"


def test_a_fault_shows_types_and_our_own_places_but_no_text(configured: Callable[..., io.StringIO]) -> None:
    stream = configured()
    inner = refused_claims()
    outer = ValueError(SECRET)
    outer.__cause__ = inner
    logs.observe(events.RpcFault(method="a/b", request_id="r", error=inner))
    logs.observe(events.RpcFault(method="a/b", request_id="r", error=raised(outer)))
    first, second = lines(stream)
    assert first["error"] == "UsherError"
    assert re.search(r"sidecar/core/claims\.py:\d+ \w+$", first["at"])
    assert second["error"] == "ValueError < UsherError"
    assert re.fullmatch(r"telemetry/test_logs\.py:\d+ raised", second["at"])
    assert SECRET not in stream.getvalue()


def test_a_group_of_tasks_shows_what_ended_it(configured: Callable[..., io.StringIO]) -> None:
    stream = configured()
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [refused_claims()])])  # type: ignore[list-item]
    logs.observe(events.RotationFailed(error=group))
    (line,) = lines(stream)
    assert line["error"].startswith("UsherError")
    assert "core/claims.py" in line["at"]
    assert SECRET not in stream.getvalue()


def test_an_endless_chain_of_causes_ends(configured: Callable[..., io.StringIO]) -> None:
    stream = configured()
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    logs.observe(events.RotationFailed(error=one))
    assert lines(stream)[0]["error"].count("<") == 4


@pytest.mark.parametrize(
    "name", ["asyncio", "grpc", "grpc._cython.cygrpc", "asyncpg", "aiohttp.server", "any"]
)
def test_other_libraries_are_heard_without_their_words(
    configured: Callable[..., io.StringIO], name: str
) -> None:
    stream = configured("json", "debug")
    logger = logging.getLogger(name)
    logger.debug("debug %s", SECRET)
    logger.info("info %s", SECRET)
    logger.warning("row %s", SECRET)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception(f"statement {SECRET}")
    warned, failed = lines(stream)
    assert (warned["event"], warned["level"], warned["logger"]) == ("library_message", "warning", name)
    assert re.fullmatch(r"test_logs\.py:\d+ test_other_libraries\w+", warned["place"])
    assert (failed["level"], failed["error"]) == ("error", "ValueError")
    assert SECRET not in stream.getvalue()


async def test_a_task_that_nobody_awaited(configured: Callable[..., io.StringIO]) -> None:
    """asyncio's own report holds the repr of the exception and of the call."""

    async def fail(value: str) -> None:
        raise ValueError(value)

    def fail_now(value: str) -> None:
        raise ValueError(value)

    stream = configured()
    task = asyncio.ensure_future(fail(SECRET))
    await asyncio.wait([task])
    del task
    asyncio.get_running_loop().call_soon(fail_now, SECRET)
    await asyncio.sleep(0)
    seen = lines(stream)
    assert [(line["logger"], line["error"]) for line in seen] == [("asyncio", "ValueError")] * 2
    assert "fail_now" in seen[1]["at"]
    assert SECRET not in stream.getvalue()


def test_warnings_and_uncaught_errors(
    configured: Callable[..., io.StringIO], capfd: pytest.CaptureFixture[str]
) -> None:
    stream = configured()
    warnings.simplefilter("always")
    warnings.warn(SECRET, UserWarning, stacklevel=1)

    def fail() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    sys.excepthook(ValueError, raised(ValueError(SECRET)), None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    class Broken:
        def __del__(self) -> None:
            raise ValueError(SECRET)

    Broken()
    seen = lines(stream)
    assert [line["event"] for line in seen] == ["library_message", "uncaught", "uncaught", "uncaught"]
    assert [line["error"] for line in seen[1:]] == ["ValueError"] * 3
    assert SECRET not in stream.getvalue()
    assert capfd.readouterr() == ("", "")


def test_a_reader_that_went_away_stops_nobody(
    configured: Callable[..., io.StringIO], capfd: pytest.CaptureFixture[str]
) -> None:
    configured().close()
    logs.observe(events.Lifecycle(phase="ready", detail=SECRET))
    assert capfd.readouterr() == ("", "")


def test_every_event_is_documented() -> None:
    text = DOCS.read_text()
    assert [name for name in logs.documented_events() if f"| `{name}` |" not in text] == []
