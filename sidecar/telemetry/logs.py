"""The log: a reader of events that writes one line each to stderr, as text or as JSON.

No line holds a value: of an exception only the type and the places in our own code are written, of another
library's message only its origin. Texts of both may repeat tokens, parameters or rows.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

from sidecar.core import events
from sidecar.core.errors import Blame, Reason, UsherError

LOGGER: Final = "usher"

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/+<>-]+\Z")
_FIELDS: Final = "usher_fields"
_LONGEST_CHAIN: Final = 5

_log = logging.getLogger(LOGGER)
_encode = json.JSONEncoder(separators=(",", ":")).encode


_LEVEL_OF_BLAME: Final = {
    Blame.CALLER.value: logging.INFO,
    Blame.DATABASE.value: logging.WARNING,
    Blame.SERVICE.value: logging.ERROR,
}


_NOT_LET_IN: Final = frozenset({Reason.TOO_MANY_CALLS.value, Reason.DEADLINE_EXCEEDED.value})
"""Of a call that was refused before anybody asked whose it is: calls_refused says how many."""


def _rpc_level(event: events.RpcFinished) -> int:
    if event.reason in _NOT_LET_IN and not event.caller:
        return logging.DEBUG
    return _LEVEL_OF_BLAME.get(event.blame, logging.DEBUG)


def _database_level(event: events.DatabaseStateChanged) -> int:
    return logging.INFO if event.reachable else logging.WARNING


def _decision_level(event: events.PolicyDecided) -> int:
    return logging.DEBUG if event.verdict == "allowed" else logging.INFO


def _loaded_level(event: events.PolicyLoaded | events.TlsLoaded | events.ClaimKeyLoaded) -> int:
    return logging.INFO if event.outcome == "loaded" else logging.ERROR


def _store_level(event: events.KeyStoreStateChanged) -> int:
    return logging.INFO if event.reachable else logging.ERROR


def _keys_level(event: events.CallerKeysFetched) -> int:
    return logging.DEBUG if event.outcome == "fetched" else logging.ERROR


def _read_level(event: events.RevocationsRead) -> int:
    return logging.DEBUG if event.outcome == "read" else logging.WARNING


EVENTS: Final[Mapping[type, tuple[str, int | Callable[[Any], int]]]] = {
    events.RpcFinished: ("rpc_finished", _rpc_level),
    events.RpcFault: ("rpc_fault", logging.ERROR),
    events.CallsRefused: ("calls_refused", logging.WARNING),
    events.TokenIssued: ("token_issued", logging.DEBUG),
    events.TokenReused: ("token_reused", logging.DEBUG),
    events.TokenRefused: ("token_refused", logging.INFO),
    events.QueryFinished: ("query_finished", logging.DEBUG),
    events.KeyStepped: ("key_stepped", logging.INFO),
    events.RotationFailed: ("rotation_failed", logging.ERROR),
    events.KeyStoreStateChanged: ("key_store_state_changed", _store_level),
    events.KeyStoreConflict: ("key_store_conflict", logging.DEBUG),
    events.KeyStoreOlder: ("key_store_older", logging.ERROR),
    events.KeyHeldBack: ("key_held_back", logging.WARNING),
    events.KeyActivatedUnseen: ("key_activated_unseen", logging.ERROR),
    events.ClockSkewed: ("clock_skewed", lambda event: logging.WARNING if event.skewed else logging.INFO),
    events.JwksServed: ("jwks_served", logging.DEBUG),
    events.KeySetRefused: ("key_set_refused", logging.ERROR),
    events.PublicHttpEnded: ("public_http_ended", logging.ERROR),
    events.WorkerEnded: ("worker_ended", logging.ERROR),
    events.WorkerNotStarted: ("worker_not_started", logging.ERROR),
    events.DatabaseStateChanged: ("database_state_changed", _database_level),
    events.ConnectionDiscarded: ("connection_discarded", logging.INFO),
    events.Lifecycle: ("lifecycle", logging.INFO),
    events.SafetyWeakened: ("safety_weakened", logging.WARNING),
    events.PolicyDecided: ("policy_decided", _decision_level),
    events.PolicyLoaded: ("policy_loaded", _loaded_level),
    events.CallerRefused: ("caller_refused", logging.INFO),
    events.CallerKeysFetched: ("caller_keys_fetched", _keys_level),
    events.TlsLoaded: ("tls_loaded", _loaded_level),
    events.RevocationsRead: ("revocations_read", _read_level),
    events.TokensRevoked: ("tokens_revoked", logging.INFO),
    events.ClaimKeyLoaded: ("claim_key_loaded", _loaded_level),
}
"""The name in the log and the level of every event."""
_FIELD_NAMES: Final = {kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in EVENTS}

LIBRARY_MESSAGE: Final = "library_message"
UNCAUGHT: Final = "uncaught"


def documented_events() -> list[str]:
    """The name of every event that docs/telemetry.md must describe."""
    return sorted([name for name, _ in EVENTS.values()] + [LIBRARY_MESSAGE, UNCAUGHT])


def observe(event: events.Event) -> None:
    """An Observer."""
    name, level = EVENTS[type(event)]
    number = level if isinstance(level, int) else level(event)
    if _log.isEnabledFor(number):
        # Not by `_log.log`, which would look for the line of code that logs.
        record = logging.LogRecord(LOGGER, number, "", 0, name, None, None)
        setattr(record, _FIELDS, _fields(event))
        _log.handle(record)


def configure(form: str, level: str, stream: TextIO | None = None, *, worker: int | None = None) -> None:
    """Sends every log line of this process to `stream` (stderr), and nothing else there.

    `worker` is the number of the worker that this process is: every line has it.

    `form` is text, json or auto (text on a terminal); `level` the lowest level of our own events. Other
    libraries are heard from warning up.
    """
    stream = stream or sys.stderr
    as_text = form == "text" or (form == "auto" and stream.isatty())
    handler = _Handler(stream)
    handler.setFormatter(_TextFormatter(worker) if as_text else _JsonFormatter(worker))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    _log.setLevel(level.upper())
    logging.captureWarnings(True)
    # No line says these, and each would have to be asked for.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # What Python itself would print with the exception's text.
    sys.excepthook = _log_uncaught
    sys.unraisablehook = lambda unraisable: _log_uncaught(unraisable.exc_type, unraisable.exc_value, None)
    threading.excepthook = lambda raised: _log_uncaught(raised.exc_type, raised.exc_value, None)


def _fields(event: events.Event) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in _FIELD_NAMES[type(event)]:
        value = getattr(event, name)
        if isinstance(value, BaseException):
            fields |= _error_fields(value)
        elif isinstance(value, float):
            fields[name] = round(value, 6)
        else:
            fields[name] = value
    return fields


def _error_fields(error: BaseException) -> dict[str, Any]:
    """The types of an error and of its causes, and where it passed through our own code; never its text."""
    # What ended a group of tasks is its first failure; the group itself says nothing.
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    types: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(types) < _LONGEST_CHAIN:
        types.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    fields: dict[str, Any] = {"error": " < ".join(types), "at": _own_frames(error.__traceback__)}
    if isinstance(error, UsherError):
        fields["reason"] = error.reason.value
    return fields


def _own_frames(traceback: TracebackType | None) -> str:
    """The places in our own code, outermost first; the innermost of all when it is in a library."""
    places: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        path = Path(code.co_filename)
        own = path.is_relative_to(_PACKAGE)
        if own or traceback.tb_next is None:
            shown = path.relative_to(_PACKAGE.parent) if own else Path(path.parent.name, path.name)
            places.append(f"{shown.as_posix()}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return " > ".join(places)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        fields = {"error": kind.__name__} if error is None else _error_fields(error)
        _log.critical(UNCAUGHT, extra={_FIELDS: fields})


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """A reader that went away must not stop the sidecar; the library would print the record."""


class _Formatter(logging.Formatter):
    """What both forms share: the parts of a line."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._of_worker: dict[str, Any] = {} if worker is None else {"worker": worker}
        self._second = 0
        self._moment = ""

    def parts(self, record: logging.LogRecord) -> dict[str, Any]:
        """Time (UTC), level, event and fields."""
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        parts: dict[str, Any] = {
            "time": f"{self._moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        fields: dict[str, Any] | None = getattr(record, _FIELDS, None)
        if fields is not None:
            return parts | {"event": record.getMessage()} | self._of_worker | fields
        parts |= {
            "event": LIBRARY_MESSAGE,
            **self._of_worker,
            "logger": record.name,
            "place": f"{Path(record.pathname).name}:{record.lineno} {record.funcName}",
        }
        error = record.exc_info[1] if record.exc_info else None
        return parts if error is None else parts | _error_fields(error)


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _encode(self.parts(record))


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        parts = self.parts(record)
        head = f"{parts.pop('time')} {parts.pop('level'):<8} {parts.pop('event')}"
        return " ".join([head, *(f"{name}={_shown(value)}" for name, value in parts.items() if value != "")])


def _shown(value: Any) -> str:
    """A value as one word, in quotes with escapes when it is none: no text can break or forge a line."""
    if isinstance(value, str) and _PLAIN.match(value):
        return value
    return json.dumps(value)
