"""A double of Neon's `POST /sql`, in front of a real Postgres: headers, encodings, limits and errors.

Written from what is known of Neon's proxy, which is the auth broker and, behind it, local_proxy in one here:
the broker checks the token, local_proxy runs the statements. Which tokens hold is the verifier's to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from aiohttp import web

from tests.neon import json_forms
from tests.neon.local_proxy import LocalProxy, SetUpError
from tests.neon.wire import ERROR_FIELDS, Field, Row, ServerError, Session

LIMIT: Final = 10 * 1024 * 1024
"""Most bytes of a request, and of a response before its last row."""
ISOLATION_LEVELS: Final = {
    "ReadUncommitted": "READ UNCOMMITTED",
    "ReadCommitted": "READ COMMITTED",
    "RepeatableRead": "REPEATABLE READ",
    "Serializable": "SERIALIZABLE",
}
_ALLOWED_HEADERS: Final = (
    "Authorization, Neon-Connection-String, Neon-Raw-Text-Output, Neon-Array-Mode, Neon-Pool-Opt-In, "
    "Neon-Batch-Read-Only, Neon-Batch-Isolation-Level"
)


class Verifier(Protocol):
    """Decides on tokens."""

    async def verify(self, token: str, endpoint: str, role: str) -> Mapping[str, Any]:
        """The claims of a token that holds for the endpoint and role.

        What it raises for one that does not has Neon's words as its `text`.
        """
        ...


class Refused(Exception):
    """The answer to a request that is not served."""

    def __init__(self, status: int, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.fields = {"message": message, "code": "", "severity": "", **(fields or {})}

    def document(self) -> dict[str, str | None]:
        """The body: every field is there, most of them null."""
        return {
            "message": None,
            "code": None,
            **{name: self.fields.get(name) for name in sorted(ERROR_FIELDS.values())},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a connection string leads."""

    role: str
    endpoint: str
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the headers ask for."""

    raw: bool
    array_mode: bool
    isolation: str
    read_only: bool
    deferrable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it came, for tests that compare clients."""

    headers: Mapping[str, str]
    document: Any


class SqlEndpoint:
    """The double. `asked` remembers every request."""

    def __init__(self, verifier: Verifier, local_proxy: LocalProxy) -> None:
        self._verifier = verifier
        self._local_proxy = local_proxy
        self.asked: list[Asked] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers any request."""
        response = await self._answer(request)
        response.headers["Neon-Request-Id"] = str(uuid.uuid4())
        return response

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/sql" and request.method == "OPTIONS":
            return web.Response(
                headers={
                    "Allow": "OPTIONS, POST",
                    "Access-Control-Allow-Origin": "*",
                    "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
                    "Access-Control-Max-Age": "86400",
                }
            )
        if request.path != "/sql" or request.method != "POST":
            return _json(400, json_forms.dumps("query is not supported"))
        try:
            response = await self._sql(request)
        except Refused as refused:
            text = json_forms.dumps(refused.document())
            # The broker writes what it has from local_proxy as a text, once more as JSON.
            response = _json(refused.status, json_forms.dumps(text) if refused.status >= 500 else text)
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    async def _sql(self, request: web.BaseRequest) -> web.Response:
        target, token = _target(request.headers), _token(request.headers)
        try:
            claims = await self._verifier.verify(token, target.endpoint, target.role)
        except Exception as refused:
            if not isinstance(text := getattr(refused, "text", None), str):
                raise
            raise Refused(400, text) from None
        options = _options(request.headers)
        document = _document(await _body(request))
        self.asked.append(Asked(headers=dict(request.headers), document=document))
        try:
            async with self._local_proxy.session(target.database, target.role, claims) as session:
                return await _Work(session, options).run(document)
        except SetUpError as failed:
            raise Refused(500, str(failed), failed.error.fields) from None
        except OSError:
            raise Refused(500, "could not connect to postgres in compute") from None


class _Work:
    """The statements of one request."""

    def __init__(self, session: Session, options: Options) -> None:
        self._session = session
        self._options = options
        self._size = 0

    async def run(self, document: Mapping[str, Any]) -> web.Response:
        """The response. Raises Refused. A request whose client has gone ends in Postgres, too."""
        try:
            return await self._run(document)
        except asyncio.CancelledError:
            await self._session.abandon()
            raise
        except ServerError as error:
            raise Refused(400, str(error), error.fields) from None
        except (ConnectionError, asyncio.IncompleteReadError):
            raise Refused(400, "connection closed") from None
        except (json_forms.ConversionError, UnicodeDecodeError):
            raise Refused(500, "could not parse postgres response") from None

    async def _run(self, document: Mapping[str, Any]) -> web.Response:
        if "queries" not in document:
            return _json(200, await self._one(document))
        await self._session.simple(self._begin())
        try:
            results = [await self._one(query) for query in document["queries"]]
        except asyncio.CancelledError:
            raise
        except BaseException:
            if not self._session.broken:
                await self._session.simple("ROLLBACK")
            raise
        await self._session.simple("COMMIT")
        response = _json(200, '{"results":[' + ",".join(results) + "]}")
        if self._options.read_only:
            response.headers["Neon-Batch-Read-Only"] = "true"
        if self._options.deferrable:
            response.headers["Neon-Batch-Deferrable"] = "true"
        if self._options.isolation:
            response.headers["Neon-Batch-Isolation-Level"] = self._options.isolation
        return response

    def _begin(self) -> str:
        modes = []
        if self._options.isolation:
            modes.append(f"ISOLATION LEVEL {ISOLATION_LEVELS[self._options.isolation]}")
        if self._options.read_only:
            modes.append("READ ONLY")
        if self._options.deferrable:
            modes.append("DEFERRABLE")
        return f"START TRANSACTION {', '.join(modes)}"

    async def _one(self, query: Mapping[str, Any]) -> str:
        """The result of one statement as JSON text."""
        array_mode = query.get("arrayMode")
        array_mode = self._options.array_mode if array_mode is None else array_mode
        fields: list[Field] = []
        rows: list[str] = []

        def row(values: Row) -> None:
            rows.append(self._row(fields, values, array_mode))
            self._size += len(rows[-1].encode()) + 1
            if self._size > LIMIT:
                raise Refused(507, f"response is too large (max is {LIMIT} bytes)")

        tag = await self._session.query(
            query["query"],
            [json_forms.parameter(value) for value in query.get("params") or []],
            fields.extend,
            row,
        )
        described = [
            {
                "name": field.name,
                "dataTypeID": json_forms.known_oid(field.type_oid),
                "tableID": field.table_oid,
                "columnID": field.column_id,
                "dataTypeSize": field.type_size,
                "dataTypeModifier": field.type_modifier,
                "format": "text",
            }
            for field in fields
        ]
        command, count = _split_tag(tag)
        return (
            f'{{"rowAsArray":{json_forms.dumps(array_mode)},"fields":{json_forms.dumps(described)},'
            f'"rows":[{",".join(rows)}],"command":{json_forms.dumps(command)},'
            f'"rowCount":{json_forms.dumps(count)}}}'
        )

    def _row(self, fields: list[Field], values: Row, array_mode: bool) -> str:
        written = [
            "null" if value is None else self._value(field, value.decode())
            for field, value in zip(fields, values, strict=True)
        ]
        if array_mode:
            return "[" + ",".join(written) + "]"
        named = zip(fields, written, strict=True)
        return "{" + ",".join(f"{json_forms.dumps(field.name)}:{text}" for field, text in named) + "}"

    def _value(self, field: Field, text: str) -> str:
        if self._options.raw:
            return json_forms.dumps(text)
        return json_forms.value(text, json_forms.known_oid(field.type_oid))


def _target(headers: Mapping[str, str]) -> Target:
    text = headers.get("Neon-Connection-String")
    if text is None:
        raise Refused(400, "missing header: neon-connection-string")
    try:
        url = urlsplit(text)
        role, host = unquote(url.username or ""), url.hostname or ""
    except ValueError:
        raise Refused(400, "invalid connection string") from None
    if url.scheme not in ("postgres", "postgresql"):
        raise Refused(400, "unexpected connection string scheme")
    if not role:
        raise Refused(400, "missing username")
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        host = ""
    if not host:
        raise Refused(400, "missing or invalid hostname")
    return Target(role=role, endpoint=host.split(".")[0], database=unquote(url.path.removeprefix("/")))


def _token(headers: Mapping[str, str]) -> str:
    prefix, token = headers.get("Authorization", "")[:7], headers.get("Authorization", "")[7:]
    if prefix != "Bearer " or not token:
        raise Refused(400, "missing or malformed authorization; this double takes tokens only")
    return token


def _options(headers: Mapping[str, str]) -> Options:
    def given(name: str) -> bool:
        return headers.get(name) == "true"

    isolation = headers.get("Neon-Batch-Isolation-Level", "")
    if isolation and isolation not in ISOLATION_LEVELS:
        raise Refused(400, "invalid isolation level")
    return Options(
        raw=given("Neon-Raw-Text-Output"),
        array_mode=given("Neon-Array-Mode"),
        isolation=isolation,
        read_only=given("Neon-Batch-Read-Only"),
        deferrable=given("Neon-Batch-Deferrable"),
    )


async def _body(request: web.BaseRequest) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > LIMIT:
            raise Refused(413, f"request is larger than {LIMIT} bytes")
    return bytes(body)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        raise Refused(400, "could not parse the HTTP request body") from None
    queries = document.get("queries", [document]) if isinstance(document, dict) else None
    if not isinstance(queries, list) or not all(_is_query(query) for query in queries):
        raise Refused(400, "could not parse the HTTP request body: neither a query nor a batch")
    assert isinstance(document, dict)
    return document


def _is_query(query: Any) -> bool:
    return (
        isinstance(query, dict)
        and isinstance(query.get("query"), str)
        and isinstance(query.get("params", []), list)
        and isinstance(query.get("arrayMode"), bool | None)
    )


def _split_tag(tag: str) -> tuple[str, int | None]:
    """The command and its count: INSERT tells an OID before it."""
    command, *rest = tag.split(" ")
    last = rest[-1] if rest else ""
    return command, int(last) if last.isdigit() else None


def _json(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=text.encode(), content_type="application/json")


@contextlib.asynccontextmanager
async def serving(endpoint: SqlEndpoint) -> AsyncIterator[str]:
    """The URL of the double, which is served for the time of the block."""
    server = web.Server(endpoint.answer, handler_cancellation=True)  # type: ignore[arg-type]
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/sql"
    finally:
        listening.close()
        await server.shutdown(1.0)
