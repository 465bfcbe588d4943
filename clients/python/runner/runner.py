"""Runs scenarios through the Python client: one JSON request a line in, one JSON answer a line out.

clients/CONTRACT.md describes both.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import json
import struct
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import usher

_FORGOTTEN = ("iat", "exp", "nbf", "jti", "iss")


class Runner:
    """The clients, tokens and token sources by name."""

    def __init__(self) -> None:
        self.clients: dict[str, usher.Client] = {}
        self.tokens: dict[str, usher.Token] = {}
        self.sources: dict[str, usher.TokenSource] = {}
        self.verbs: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "connect": self.connect,
            "close": self.close,
            "query": self.query,
            "stream": self.stream,
            "transaction": self.transaction,
            "issue": self.issue,
            "source": self.source,
            "verify": self.verify,
            "whoami": self.whoami,
            "keys": self.keys,
            "many": self.many,
        }

    async def answer(self, request: dict[str, Any]) -> Any:
        verb = self.verbs.get(request["do"])
        if verb is None:
            return {"unsupported": True}
        try:
            return await verb(request)
        except usher.UsherError as error:
            return {"error": failure(error)}
        except asyncio.CancelledError:
            cancelled = {"code": "CANCELLED", "reason": "CLIENT_CANCELLED", "sqlstate": None}
            return {"error": cancelled | {"retryable": False, "fields": []}}

    async def connect(self, request: dict[str, Any]) -> Any:
        def pem(name: str) -> bytes | None:
            return request[name].encode() if name in request else None

        self.clients[request["client"]] = usher.Client(
            request["target"],
            tls_ca=pem("ca"),
            tls_cert=pem("cert"),
            tls_key=pem("private_key"),
            key=request.get("key"),
            retries=request.get("retries", 3),
        )
        return {"ok": True}

    async def close(self, request: dict[str, Any]) -> Any:
        await self.clients[request["client"]].close()
        return {"ok": True}

    async def query(self, request: dict[str, Any]) -> Any:
        scope = self.scope(request)
        options = chosen(request, "read_only", "max_rows", "statement_timeout", "timeout")
        if "statement" in request:
            call = scope.run(request["statement"], *parameters(request), **options)
        else:
            call = scope.query(request["sql"], *parameters(request), **options)
        task = asyncio.ensure_future(call)
        if "cancel_after" in request:
            asyncio.get_running_loop().call_later(request["cancel_after"], task.cancel)
        return shown_result(await task)

    async def stream(self, request: dict[str, Any]) -> Any:
        scope = self.scope(request)
        options = chosen(request, "max_rows", "statement_timeout", "timeout")
        if "statement" in request:
            stream = scope.stream_statement(request["statement"], *parameters(request), **options)
        else:
            stream = scope.stream(request["sql"], *parameters(request), **options)
        rows: list[Any] = []
        try:
            async for row in stream:
                rows.append(shown_row(row, stream.columns))
                if len(rows) == request.get("stop_after"):
                    return {"rows": rows, "stopped": True}
        except usher.UsherError as error:
            return {"rows": rows, "error": failure(error)}
        assert stream.summary is not None
        summary = dataclasses.asdict(stream.summary)
        return {"columns": shown_columns(stream.columns), "rows": rows, "summary": summary}

    async def transaction(self, request: dict[str, Any]) -> Any:
        statements = [
            usher.Statement(
                sql=asked.get("sql", ""),
                name=asked.get("statement", ""),
                parameters=parameters(asked),
                max_rows=asked.get("max_rows"),
            )
            for asked in request["statements"]
        ]
        options = chosen(request, "isolation", "read_only", "statement_timeout", "timeout")
        results = await self.scope(request).transaction(statements, **options)
        return {"results": [shown_result(result) for result in results]}

    async def issue(self, request: dict[str, Any]) -> Any:
        token = await self.clients[request["client"]].issue_token(
            request["sub"],
            request.get("claims"),
            audiences=request.get("audiences", ()),
            ttl=request.get("ttl"),
        )
        self.tokens[request.get("save", "")] = token
        lifetime = int((token.expire_time - token.issue_time).total_seconds())
        return {"token": {"alg": token.alg, "lifetime": lifetime, "kid_length": len(token.kid)}}

    async def source(self, request: dict[str, Any]) -> Any:
        source = self.sources.setdefault(
            request["source"],
            self.clients[request["client"]].token_source(
                request["sub"], request.get("claims"), ttl=request.get("ttl")
            ),
        )
        if request.get("parallel"):
            tokens = await asyncio.gather(*(source.token() for _ in range(request["calls"])))
        else:
            tokens = []
            for _ in range(request["calls"]):
                tokens.append(await source.token())
                await asyncio.sleep(request.get("pause", 0))
        return {"distinct": len({token.token for token in tokens})}

    async def verify(self, request: dict[str, Any]) -> Any:
        token = self.tokens[request["saved"]].token if "saved" in request else request["token"]
        verified = await self.clients[request["client"]].verify_token(
            token, audience=request.get("audience", "")
        )
        return {"claims": {name: value for name, value in verified.claims.items() if name not in _FORGOTTEN}}

    async def whoami(self, request: dict[str, Any]) -> Any:
        seen = await self.scope(request).who_am_i()
        user = seen.user_id if seen.HasField("user_id") else None
        return {"role": seen.role, "user_id": user, "backend_kind": seen.backend_kind}

    async def keys(self, request: dict[str, Any]) -> Any:
        keys = await self.clients[request["client"]].list_keys()
        names = (usher.key_state(key).lower() for key in keys)
        return {"states": dict(collections.Counter(names))}

    async def many(self, request: dict[str, Any]) -> Any:
        one = {"client": request["client"]} | request["request"]
        answers = await asyncio.gather(*(self.answer(one) for _ in range(request["count"])))
        counted = collections.Counter(json.dumps(answer, sort_keys=True) for answer in answers)
        return {"answers": [[json.loads(text), count] for text, count in counted.most_common()]}

    def scope(self, request: dict[str, Any]) -> usher.Scope:
        client, scope = self.clients[request["client"]], request["scope"]
        if "saved" in scope:
            return client.with_token(self.tokens[scope["saved"]])
        if "token" in scope:
            return client.with_token(scope["token"])
        return client.as_user(scope["sub"], scope.get("claims"))


def chosen(request: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: request[name] for name in names if name in request}


def parameters(request: dict[str, Any]) -> list[Any]:
    return [native(value) for value in request.get("params", [])]


def failure(error: usher.UsherError) -> dict[str, Any]:
    found = {
        "code": error.code,
        "reason": error.reason,
        "sqlstate": error.sqlstate,
        "retryable": error.retryable,
        "fields": sorted(error.fields),
    }
    index = error.statement_index
    return found if index is None else found | {"statement_index": index}


def shown_result(result: usher.Result) -> dict[str, Any]:
    return {
        "columns": shown_columns(result.columns),
        "rows": [shown_row(row, result.columns) for row in result],
        "truncated": result.truncated,
        "command_tag": result.command_tag,
        "affected_rows": result.affected_rows,
    }


def shown_columns(columns: Sequence[usher.Column]) -> list[Any]:
    return [[column.name, column.type_name, column.kind] for column in columns]


def shown_row(row: usher.Row, columns: Sequence[usher.Column]) -> list[Any]:
    return [shown(cell, column.kind, column.element_kind) for cell, column in zip(row, columns, strict=True)]


def native(value: Any) -> Any:
    """A value of the protocol as the client's native one."""
    if value is None:
        return None
    ((kind, content),) = value.items()
    read: dict[str, Callable[[Any], Any]] = {
        "bool": bool,
        "int": int,
        "float": lambda bits: struct.unpack(">d", bytes.fromhex(bits))[0],
        "text": str,
        "bytes": bytes.fromhex,
        "numeric": decimal.Decimal,
        "date": _date,
        "time": _time,
        "timestamp": lambda content: _timestamp(content, None),
        "timestamptz": lambda content: _timestamp(content, datetime.UTC),
        "interval": lambda parts: usher.Interval(*parts),
        "uuid": uuid.UUID,
        "json": lambda text: usher.Json(json.loads(text)),
        "array": lambda items: [native(item) for item in items],
        "other": str,
    }
    return read[kind](content)


def _date(content: Any) -> Any:
    if content in ("infinity", "-infinity"):
        return usher.FarDate(2**31 - 1 if content == "infinity" else -(2**31))
    return usher.FarDate(content) if isinstance(content, int) else datetime.date.fromisoformat(content)


def _time(content: Any) -> Any:
    return usher.FarTime(content) if isinstance(content, int) else datetime.time.fromisoformat(content)


def _timestamp(content: Any, zone: datetime.timezone | None) -> Any:
    if content in ("infinity", "-infinity"):
        seconds = 2**63 - 1 if content == "infinity" else -(2**63)
        return usher.FarTimestamp(seconds, 0, utc=zone is not None)
    if isinstance(content, list):
        return usher.FarTimestamp(*content, utc=zone is not None)
    return datetime.datetime.fromisoformat(content)


def shown(value: Any, kind: str, element_kind: str | None) -> Any:
    """A native value as the protocol's."""
    if value is None:
        return None
    if kind == "ARRAY":
        return {"array": [shown(item, element_kind or "", None) for item in value]}
    show: dict[str, Callable[[Any], Any]] = {
        "BOOL": bool,
        "INT": str,
        "FLOAT": lambda number: struct.pack(">d", number).hex(),
        "BYTES": bytes.hex,
        "NUMERIC": lambda number: format(number, "f") if number.is_finite() else str(number),
        "DATE": _show_date,
        "TIME": lambda time: time.micros if isinstance(time, usher.FarTime) else time.isoformat(),
        "TIMESTAMP": _show_timestamp,
        "TIMESTAMPTZ": _show_timestamp,
        "INTERVAL": lambda interval: [interval.months, interval.days, interval.micros],
        "UUID": str,
        "JSON": lambda parsed: json.dumps(parsed, ensure_ascii=False),
    }
    return {kind.lower(): show.get(kind, str)(value)}


def _show_date(value: Any) -> Any:
    if not isinstance(value, usher.FarDate):
        return value.isoformat()
    return {2**31 - 1: "infinity", -(2**31): "-infinity"}.get(value.days, value.days)


def _show_timestamp(value: Any) -> Any:
    if not isinstance(value, usher.FarTimestamp):
        return value.isoformat().replace("+00:00", "Z")
    infinite = {2**63 - 1: "infinity", -(2**63): "-infinity"}
    return infinite.get(value.seconds, [value.seconds, value.micros])


async def main() -> None:
    runner = Runner()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await runner.answer(json.loads(line)), ensure_ascii=False), flush=True)
    for client in runner.clients.values():
        await client.close()


if __name__ == "__main__":
    asyncio.run(main())
