"""What Neon answers, read: results, or the UsherError that a refusal stands for.

By status and SQLSTATE as far as there is one; only for refusals of a token, which have none, by Neon's text.
Texts of Postgres or Neon are shown only if the operator asks for it (see postgres/errors.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sidecar.core.errors import Reason, UsherError, invalid_field
from sidecar.postgres.errors import translate_fields
from sidecar.postgres.neon_http.batch import REQUEST_LIMIT

UNKNOWN_OID: Final = 705
"""Neon gives this OID to every type that Postgres does not bring along."""

_FIELDS: Final = {"code": "sqlstate", "dataType": "type"} | {
    name: name for name in ("routine", "message", "schema", "table", "column", "constraint", "position")
}

_TOKEN_REFUSED: Final = (
    (
        "jwk not found",
        "Neon knows no key for the token: compare the JWKS URL in the project's settings with the issuer's, "
        "and the roles it is for; a set that Neon has kept may be up to an hour old",
    ),
    ("audience", "Neon wants another audience; set neon_audience to the one in the project's settings"),
    ("expired", "Neon takes the token for expired; compare the clocks"),
    ("not yet ready", "Neon takes the token for not valid yet; compare the clocks"),
    ("missing key id", "Neon cannot read the token"),
    ("not a valid jwt", "Neon cannot read the token"),
    ("could not parse", "Neon cannot read the token or the request"),
    (
        "signature",
        "Neon refuses the token's signature: another key has the same kid, or an algorithm it cannot",
    ),
    ("unsupported", "Neon cannot use the signing key; it takes ES256, and RS256 of 2048 to 4096 bits"),
    ("invalid rsa", "Neon cannot use the signing key; it takes ES256, and RS256 of 2048 to 4096 bits"),
    ("invalid p256", "Neon cannot use the signing key; it takes ES256, and RS256 of 2048 to 4096 bits"),
)
_PASSING: Final = ("failed to fetch auth rules",)
"""Refusals of a token that have nothing to do with it."""

_OUTCOME_UNKNOWN: Final = (
    "Neon's answer was lost, or the database gave out: look whether the statement was written before you "
    "repeat it [SQLSTATE 08007]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One query's result: column names, type OIDs, and rows of text."""

    names: Sequence[str]
    oids: Sequence[int]
    rows: Sequence[Sequence[str | None]]
    command: str
    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a request's answer is to be read."""

    read_only: bool
    """Whether nothing can have been written."""
    queries: int
    prefix: int | None = 0
    """By how many characters a position is off; None where that is not known."""
    timed_out: bool = False
    show_messages: bool = False


def results(status: int, body: bytes | None, reading: Reading) -> list[Result]:
    """The results of all queries. `body` is None for one that is too long. Raises UsherError."""
    if status != 200:
        raise _refusal(status, _document(body), reading)
    if body is None:
        raise too_large(committed=not reading.read_only)
    document = _document(body)
    try:
        found = [_result(result) for result in document["results"]]
        if len(found) == reading.queries:
            return found
    except (KeyError, TypeError):
        pass
    raise after_commit(
        UsherError(Reason.DATABASE_ERROR, "Neon's answer is not in the form that is known"), reading.read_only
    )


def outcome_unknown(*, read_only: bool, why: str = "") -> UsherError:
    """The error for an answer that did not come: only a read is safe to repeat. `why` is public text."""
    if read_only:
        return UsherError(Reason.DATABASE_UNAVAILABLE, why or "Neon did not answer; retry later")
    return UsherError(Reason.DATABASE_ERROR, _OUTCOME_UNKNOWN, {"sqlstate": "08007"})


def after_commit(error: UsherError, read_only: bool) -> UsherError:
    """The error once the transaction has been committed: never one that is safe to repeat."""
    if read_only:
        return error
    reason = Reason.DATABASE_ERROR if error.retryable else error.reason
    message = f"{error.message}; the statement ran to its end and was committed"
    return UsherError(reason, message, {**error.metadata, "committed": "true"}, error.violations)


def too_large(limit: int = REQUEST_LIMIT, *, committed: bool) -> UsherError:
    """The error for a result that does not fit."""
    error = UsherError(
        Reason.RESULT_TOO_LARGE,
        f"the result has more than {limit} bytes, the limit; ask for fewer columns or rows "
        "(max_rows), or page by key: WHERE id > $1 ORDER BY id LIMIT n",
        {"limit": str(limit)},
    )
    return after_commit(error, read_only=not committed)


def _document(body: bytes | None) -> Any:
    """The JSON of a body; None for what is none. What passes Neon's broker as 5xx is JSON in a JSON text."""
    try:
        found = json.loads(body or b"")
        return json.loads(found) if isinstance(found, str) and found.startswith("{") else found
    except (ValueError, RecursionError):
        return None


def _result(document: Mapping[str, Any]) -> Result:
    fields = document["fields"]
    return Result(
        names=[str(field["name"]) for field in fields],
        oids=[int(field["dataTypeID"]) for field in fields],
        rows=document["rows"],
        command=str(document["command"]),
        count=document["rowCount"],
    )


def _refusal(status: int, document: Any, reading: Reading) -> UsherError:
    if status == 507:
        return too_large(committed=False)
    if status == 413:
        return request_too_large()
    if status == 429:
        return UsherError(Reason.DATABASE_RESOURCES, "Neon takes no more requests at present; retry later")
    said = document if isinstance(document, Mapping) else {}
    fields = {ours: str(said[theirs]) for theirs, ours in _FIELDS.items() if said.get(theirs)}
    if fields.get("sqlstate"):
        return _from_postgres(status, fields, reading)
    error = _without_state(status, fields.get("message", ""), reading)
    if reading.show_messages and fields.get("message"):
        error.message += f": {fields['message']}"
    return error


def _from_postgres(status: int, fields: dict[str, str], reading: Reading) -> UsherError:
    state, routine = fields["sqlstate"], fields.get("routine")
    if state == "08P01" and routine is None:
        # Neon's own: it ended the statement and dropped the session before any commit.
        return UsherError(Reason.DATABASE_UNAVAILABLE, "Neon ended the statement; nothing was written")
    if state == "08P01" and routine == "exec_bind_message":
        return UsherError(
            Reason.PARAMETER_COUNT,
            "the statement has another number of parameters than were sent; "
            "send one value for each of $1, $2, ...",
            {"sqlstate": state},
        )
    if "position" in fields:
        position = int(fields["position"]) - reading.prefix if reading.prefix is not None else 0
        fields = {**fields, "position": str(position) if position > 0 else ""}
    error = translate_fields(fields, show_message=reading.show_messages, timed_out=reading.timed_out)
    if status >= 500 and error.reason is not Reason.DATABASE_RESOURCES:
        return UsherError(
            Reason.DATABASE_NOT_INSTALLED,
            "Neon could not make the session ready: the role must be able to log in, pg_session_jwt be "
            f"installed, and the role have USAGE on schema auth [SQLSTATE {state}]",
            {"sqlstate": state},
        )
    if error.reason is Reason.DATABASE_UNAVAILABLE and state[:2] in ("08", "57") and not reading.read_only:
        # It may have happened in the commit: the answer does not tell.
        return outcome_unknown(read_only=False)
    return error


def _without_state(status: int, text: str, reading: Reading) -> UsherError:
    lowered = text.lower()
    if status == 400 and any(known in lowered for known in _PASSING):
        return UsherError(Reason.DATABASE_UNAVAILABLE, "Neon cannot check tokens at present; retry later")
    if status == 400:
        for known, remedy in _TOKEN_REFUSED:
            if known in lowered:
                return UsherError(Reason.DATABASE_NOT_INSTALLED, remedy)
    if status == 500 and "could not parse postgres response" in lowered:
        # Neon's own: it cannot read a row, and rolls back.
        return UsherError(
            Reason.DATA_EXCEPTION,
            "a value is not valid in UTF-8; leave client_encoding alone, or cast it to bytea",
        )
    if status == 400 or status >= 500:
        return outcome_unknown(read_only=reading.read_only)
    return UsherError(
        Reason.DATABASE_NOT_INSTALLED,
        f"the URL of neon-http answers {status}, which Neon's does not; look at database_url",
    )


def request_too_large() -> UsherError:
    """The error for SQL and parameters that make a longer request than Neon takes."""
    return invalid_field(
        "parameters", f"with the SQL they make more than {REQUEST_LIMIT} bytes of JSON, Neon's limit"
    )
