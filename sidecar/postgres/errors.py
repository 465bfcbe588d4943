"""From what Postgres and asyncpg raise to Usher's own errors: by SQLSTATE, never by message text.

A server message may hold values of the caller's rows ("Key (email)=(...) already exists"), so none is passed
on unless the operator asks for it. Names of constraints, tables and columns are metadata.
SQLSTATEs: PostgreSQL documentation, appendix A.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
from asyncpg.exceptions import PostgresWarning

from sidecar.core.errors import Reason, UsherError

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    # SQLSTATE classes 01 and 02, as errors too: asyncpg makes them warnings, which are no PostgresError.
    PostgresWarning,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    # A text that is not valid in the connection's encoding. Its own message shows the text.
    UnicodeError,
)
"""What a call of asyncpg raises; all else is a fault of ours."""

_REMEDY: Final[dict[Reason, str]] = {
    Reason.SQL_SYNTAX: "the SQL text has a syntax error",
    Reason.PARAMETER_COUNT: "the statement names a parameter that was not sent",
    Reason.PARAMETER_TYPE: "a parameter does not fit the type that the statement gives it; cast it",
    Reason.MULTIPLE_STATEMENTS: "sql: holds more than one statement; send one a request",
    Reason.UNDEFINED_OBJECT: "the statement names something that does not exist, or that the role cannot see",
    Reason.DATA_EXCEPTION: "a value could not be processed; check ranges, casts and text forms",
    Reason.STATEMENT_INVALID: "the statement is not valid for this database",
    Reason.READ_ONLY: "the statement writes, but options.read_only is set",
    Reason.ROW_LEVEL_SECURITY: "a row-level security policy refuses this row for the scope's claims",
    Reason.INSUFFICIENT_PRIVILEGE: "the scope's role lacks a privilege that the statement needs",
    Reason.CLAIMS_TAMPERED: "the statement changed or removed the claims or the role of its own scope",
    Reason.UNIQUE_VIOLATION: "a row with this key exists already",
    Reason.FOREIGN_KEY_VIOLATION: "the row refers to one that does not exist, or is still referred to",
    Reason.NOT_NULL_VIOLATION: "a column that must have a value got none",
    Reason.CHECK_VIOLATION: "a check constraint refuses the row",
    Reason.CONSTRAINT_VIOLATION: "a constraint refuses the row",
    Reason.RAISED_BY_DATABASE: "a function or trigger of the database refused the statement",
    Reason.SERIALIZATION_FAILURE: "concurrent transactions conflicted; retry the query",
    Reason.DEADLOCK: "the query was part of a deadlock; retry it",
    Reason.LOCK_NOT_AVAILABLE: "a lock could not be had in time; retry the query",
    Reason.STATEMENT_TIMEOUT: "the statement ran longer than its timeout and was cancelled",
    Reason.DATABASE_RESOURCES: "the database is out of a resource",
    Reason.DATABASE_UNAVAILABLE: "the database cannot be reached; retry later",
    Reason.DATABASE_NOT_INSTALLED: "the database is not set up for Usher; run `usher db install`",
    Reason.DATABASE_ERROR: "the database reported an error",
}

_BY_STATE: Final[dict[str, Reason]] = {
    # Whether the transaction was written is not known: not to be retried blindly.
    "08007": Reason.DATABASE_ERROR,
    "23502": Reason.NOT_NULL_VIOLATION,
    "23503": Reason.FOREIGN_KEY_VIOLATION,
    "23505": Reason.UNIQUE_VIOLATION,
    "23514": Reason.CHECK_VIOLATION,
    "23P01": Reason.UNIQUE_VIOLATION,
    "25006": Reason.READ_ONLY,
    "25P03": Reason.STATEMENT_TIMEOUT,
    "25P04": Reason.STATEMENT_TIMEOUT,
    "3F000": Reason.UNDEFINED_OBJECT,
    "40001": Reason.SERIALIZATION_FAILURE,
    "40002": Reason.CONSTRAINT_VIOLATION,
    "40P01": Reason.DEADLOCK,
    "42501": Reason.INSUFFICIENT_PRIVILEGE,
    "42601": Reason.SQL_SYNTAX,
    "42602": Reason.SQL_SYNTAX,
    "42622": Reason.SQL_SYNTAX,
    "42703": Reason.UNDEFINED_OBJECT,
    "42704": Reason.UNDEFINED_OBJECT,
    "42883": Reason.UNDEFINED_OBJECT,
    "42P01": Reason.UNDEFINED_OBJECT,
    "42P02": Reason.PARAMETER_COUNT,
    "42P08": Reason.PARAMETER_TYPE,
    "42P18": Reason.PARAMETER_TYPE,
    "55P03": Reason.LOCK_NOT_AVAILABLE,
    # Our own, raised by usher.claims().
    "US001": Reason.CLAIMS_TAMPERED,
    # Somebody cancelled the statement; a timeout of ours is told apart by the caller of `translate`.
    "57014": Reason.DATABASE_ERROR,
}

_BY_CLASS: Final[dict[str, Reason]] = {
    "08": Reason.DATABASE_UNAVAILABLE,
    "09": Reason.RAISED_BY_DATABASE,
    "0A": Reason.STATEMENT_INVALID,
    "20": Reason.RAISED_BY_DATABASE,
    "21": Reason.DATA_EXCEPTION,
    "22": Reason.DATA_EXCEPTION,
    "23": Reason.CONSTRAINT_VIOLATION,
    "25": Reason.STATEMENT_INVALID,
    "27": Reason.CONSTRAINT_VIOLATION,
    "28": Reason.DATABASE_UNAVAILABLE,
    "2F": Reason.RAISED_BY_DATABASE,
    "38": Reason.RAISED_BY_DATABASE,
    "39": Reason.RAISED_BY_DATABASE,
    "3D": Reason.DATABASE_UNAVAILABLE,
    "42": Reason.STATEMENT_INVALID,
    "44": Reason.CONSTRAINT_VIOLATION,
    "53": Reason.DATABASE_RESOURCES,
    "54": Reason.STATEMENT_INVALID,
    "55": Reason.STATEMENT_INVALID,
    "57": Reason.DATABASE_UNAVAILABLE,
    "P0": Reason.RAISED_BY_DATABASE,
}

_ABOUT_THE_SERVER: Final = frozenset(
    {Reason.DATABASE_UNAVAILABLE, Reason.DATABASE_RESOURCES, Reason.DATABASE_ERROR, Reason.STATEMENT_TIMEOUT}
)
"""Reasons that a RAISE of some function cannot give: it speaks for the function, whatever its SQLSTATE."""


def translate(error: BaseException, *, show_message: bool = False, timed_out: bool = False) -> UsherError:
    """The UsherError for anything that a database call raised.

    `show_message` adds Postgres' own message, which may hold values; only by the operator's wish.
    `timed_out` says that the statement ran as long as it may, so that a cancellation is its timeout's: for
    all cancellations Postgres has but one SQLSTATE.
    """
    if isinstance(error, UsherError):
        return error
    if isinstance(error, asyncpg.ConnectionDoesNotExistError) and isinstance(
        error.__cause__, asyncpg.PostgresError
    ):
        error = error.__cause__  # what the server said before it closed the connection
    if isinstance(error, asyncpg.DataError) and error.severity is None:
        # Not from the server: asyncpg could not encode an argument, and its message shows it.
        return UsherError(Reason.PARAMETER_TYPE, _REMEDY[Reason.PARAMETER_TYPE])
    if isinstance(error, asyncpg.PostgresError | PostgresWarning):
        return _from_postgres(error, show_message, timed_out)
    if isinstance(error, UnicodeError):
        return UsherError(
            Reason.DATA_EXCEPTION, "a text is not valid in the encoding of the database; cast it to bytea"
        )
    if isinstance(error, TimeoutError):
        return UsherError(Reason.DATABASE_UNAVAILABLE, "the database did not answer in time; retry later")
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        # The last one too: asyncpg trips over the farewell of a server that ends an idle session.
        return UsherError(Reason.DATABASE_UNAVAILABLE, _REMEDY[Reason.DATABASE_UNAVAILABLE])
    return UsherError(Reason.INTERNAL, "an unexpected fault; the log has the cause")


def connection_trouble(error: BaseException) -> str:
    """Why no connection could be had, in words that give away no address, user or password."""
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return "the database named in database_url does not exist"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return "the database refuses the login in database_url"
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return "the database has no free connection slot"
    if isinstance(error, asyncpg.CannotConnectNowError):
        return "the database is starting or shutting down"
    if isinstance(error, asyncpg.ClientConfigurationError | UnicodeError):
        return "database_url, or a PG variable of the environment, cannot be used to connect"
    if isinstance(error, TimeoutError):
        return "the database does not answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "the database refuses the connection; is it running?"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake with the database failed"
    if isinstance(error, socket.gaierror):
        return "the host name of the database is not known"
    if isinstance(error, OSError):
        # Its own text holds the address. Several failures in one, one for each address, have no number.
        return "the database cannot be reached" + (f" ({os.strerror(error.errno)})" if error.errno else "")
    return translate(error).message


def _reason(state: str, reported_by: str | None) -> Reason:
    if state == "42501" and reported_by == "ExecWithCheckOptions":
        # The only function of Postgres that raises 42501 for a policy (execMain.c).
        return Reason.ROW_LEVEL_SECURITY
    if state == "42601" and reported_by == "exec_parse_message":
        # The extended protocol takes one statement a message (postgres.c).
        return Reason.MULTIPLE_STATEMENTS
    reason = _BY_STATE.get(state) or _BY_CLASS.get(state[:2], Reason.DATABASE_ERROR)
    if reported_by == "exec_stmt_raise" and reason in _ABOUT_THE_SERVER:  # pl_exec.c
        return Reason.RAISED_BY_DATABASE
    return reason


def _from_postgres(error: Any, show_message: bool, timed_out: bool) -> UsherError:
    fields = {
        name: str(value)
        for name, attribute in _ATTRIBUTES.items()
        if (value := getattr(error, attribute, None))
    }
    return translate_fields(
        fields | {"message": str(error.args[0])}, show_message=show_message, timed_out=timed_out
    )


_ATTRIBUTES: Final = {
    "sqlstate": "sqlstate",
    "routine": "server_source_function",
    "schema": "schema_name",
    "table": "table_name",
    "column": "column_name",
    "constraint": "constraint_name",
    "type": "data_type_name",
    "position": "position",
}
"""The fields of an error that matter, and asyncpg's names of them."""


def translate_fields(
    fields: Mapping[str, str], *, show_message: bool = False, timed_out: bool = False
) -> UsherError:
    """The UsherError for what Postgres said, however it came here; see `translate`.

    `fields` are sqlstate, routine, message, schema, table, column, constraint, type and position (PostgreSQL
    documentation, "Error and Notice Message Fields"), as far as Postgres gave them.
    """
    state = fields.get("sqlstate", "")
    reason = _reason(state, fields.get("routine"))
    message = _REMEDY.get(reason, _REMEDY[Reason.DATABASE_ERROR])
    if state == "57014" and reason is Reason.DATABASE_ERROR:
        if timed_out:
            reason, message = Reason.STATEMENT_TIMEOUT, _REMEDY[Reason.STATEMENT_TIMEOUT]
        else:
            message = "the statement was cancelled in the database, by an administrator or another session"
    metadata = {"sqlstate": state} | {
        name: fields[name]
        for name in ("schema", "table", "column", "constraint", "type", "position")
        if fields.get(name)
    }
    if where := ", ".join(
        f"{key} {metadata[key]}" for key in ("table", "column", "constraint") if key in metadata
    ):
        message += f" ({where})"
    if "position" in metadata:
        message += f" (at character {metadata['position']})"
    message += f" [SQLSTATE {state}]"
    if show_message:
        message += f": {fields.get('message', '')}"
    return UsherError(reason, message, metadata)
