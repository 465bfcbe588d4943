"""A small client of Postgres' own protocol, as raw as the double of Neon needs it.

Statements go by the extended protocol with untyped text parameters and come back as text, with what Postgres
tells of columns and errors and nothing made of it (PostgreSQL documentation, "Frontend/Backend Protocol").
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_PROTOCOL = 3 << 16
_CANCEL = (1234 << 16) + 5678
ERROR_FIELDS = {
    "S": "severity",
    "C": "code",
    "M": "message",
    "D": "detail",
    "H": "hint",
    "P": "position",
    "p": "internalPosition",
    "q": "internalQuery",
    "W": "where",
    "s": "schema",
    "t": "table",
    "c": "column",
    "d": "dataType",
    "n": "constraint",
    "F": "file",
    "L": "line",
    "R": "routine",
}


class ServerError(Exception):
    """What Postgres said, by the names that Neon gives the fields."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(fields.get("message", ""))
        self.fields = dict(fields)


@dataclass(frozen=True, slots=True)
class Field:
    """One column as RowDescription tells it."""

    name: str
    table_oid: int
    column_id: int
    type_oid: int
    type_size: int
    type_modifier: int


Row = list[bytes | None]


class Session:
    """One session of Postgres. Not for two users at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._key = b""
        self.broken = False
        """Whether a statement was cut off, or the server hung up: not to be used again."""

    @staticmethod
    async def connect(
        host: str, port: int, user: str, password: str, database: str, options: str = ""
    ) -> Session:
        """Raises ServerError or OSError."""
        session = Session(host, port)
        session._reader, session._writer = await asyncio.open_connection(host, port)
        try:
            await session._start(user, password, database, options)
        except BaseException:
            session.close()
            raise
        return session

    def close(self) -> None:
        """Hangs up."""
        self.broken = True
        self._writer.close()

    async def abandon(self) -> None:
        """Asks Postgres to end the statement that runs, and hangs up once it has or a second is over."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(struct.pack("!ii", 16, _CANCEL) + self._key)
        await reader.read()  # Postgres hangs up once it has passed it on
        writer.close()
        with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError, OSError):
            async with asyncio.timeout(1.0):
                while (await self._message())[0] != b"Z":
                    pass
        self.close()

    async def simple(self, sql: str) -> list[Row]:
        """Runs statements without parameters; the rows of all. Raises ServerError."""
        self._send(b"Q", sql.encode() + b"\0")
        rows: list[Row] = []
        await self._answer(lambda fields: None, rows.append)
        return rows

    async def query(
        self,
        sql: str,
        parameters: Sequence[str | None],
        columns: Callable[[list[Field]], None],
        row: Callable[[Row], None],
    ) -> str:
        """Runs one statement; the command tag. Raises ServerError."""
        if len(parameters) > 0x7FFF:
            raise ServerError({"message": "too many parameters", "code": ""})
        values = b"".join(
            struct.pack("!i", -1)
            if value is None
            else struct.pack("!i", len(value.encode())) + value.encode()
            for value in parameters
        )
        self._send(b"P", b"\0" + sql.encode() + b"\0" + struct.pack("!h", 0))
        self._send(b"D", b"S\0")
        self._send(b"B", b"\0\0" + struct.pack("!hh", 0, len(parameters)) + values + struct.pack("!hh", 1, 0))
        self._send(b"E", b"\0" + struct.pack("!i", 0))
        self._send(b"S", b"")
        return await self._answer(columns, row)

    async def _answer(self, columns: Callable[[list[Field]], None], row: Callable[[Row], None]) -> str:
        """Reads to the end of the answer, also behind an error: only then the session is free again."""
        tag, failure = "", None
        whole = False
        try:
            while True:
                kind, body = await self._message()
                if kind == b"T":
                    columns(_fields(body))
                elif kind == b"D" and failure is None:
                    try:
                        row(_row(body))
                    except Exception as error:
                        failure = error
                elif kind == b"C":
                    tag = body[:-1].decode()
                elif kind == b"E":
                    failure = failure or ServerError(_error(body))
                elif kind == b"Z":
                    whole = True
                    break
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise failure or error from None
        finally:
            self.broken = self.broken or not whole
        if failure is not None:
            raise failure
        return tag

    async def _start(self, user: str, password: str, database: str, options: str) -> None:
        pairs = {"user": user, "database": database, "client_encoding": "UTF8", "options": options}
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in pairs.items() if value) + b"\0"
        self._writer.write(struct.pack("!ii", len(body) + 8, _PROTOCOL) + body)
        scram = _Scram(password)
        while True:
            kind, body = await self._message()
            if kind == b"R":
                (method,) = struct.unpack_from("!i", body)
                if method == 10:
                    self._send(b"p", scram.first())
                elif method == 11:
                    self._send(b"p", scram.final(body[4:].decode()))
                elif method not in (0, 12):
                    raise ServerError({"message": f"authentication method {method}", "code": ""})
            elif kind == b"K":
                self._key = body
            elif kind == b"E":
                raise ServerError(_error(body))
            elif kind == b"Z":
                return

    def _send(self, kind: bytes, body: bytes) -> None:
        self._writer.write(kind + struct.pack("!i", len(body) + 4) + body)

    async def _message(self) -> tuple[bytes, bytes]:
        head = await self._reader.readexactly(5)
        return head[:1], await self._reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


class _Scram:
    """SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677), for passwords in ASCII."""

    def __init__(self, password: str) -> None:
        self._password = password.encode("ascii")
        self._nonce = base64.b64encode(secrets.token_bytes(18)).decode()
        self._bare = f"n=,r={self._nonce}"

    def first(self) -> bytes:
        message = f"n,,{self._bare}".encode()
        return b"SCRAM-SHA-256\0" + struct.pack("!i", len(message)) + message

    def final(self, challenge: str) -> bytes:
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(parts["s"]), int(parts["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = f"c=biws,r={parts['r']}"
        signed = hmac.digest(
            hashlib.sha256(key).digest(), f"{self._bare},{challenge},{without_proof}".encode(), "sha256"
        )
        proof = bytes(a ^ b for a, b in zip(key, signed, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()


def _fields(body: bytes) -> list[Field]:
    (count,) = struct.unpack_from("!h", body)
    fields, at = [], 2
    for _ in range(count):
        end = body.index(b"\0", at)
        table, column, oid, size, modifier, _format = struct.unpack_from("!ihihih", body, end + 1)
        fields.append(
            Field(body[at:end].decode(), table & 0xFFFFFFFF, column, oid & 0xFFFFFFFF, size, modifier)
        )
        at = end + 1 + 18
    return fields


def _row(body: bytes) -> Row:
    (count,) = struct.unpack_from("!h", body)
    values: Row = []
    at = 2
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(None if length < 0 else body[at : at + length])
        at += max(length, 0)
    return values


def _error(body: bytes) -> dict[str, str]:
    found = {part[:1].decode(): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return {ERROR_FIELDS[mark]: text for mark, text in found.items() if mark in ERROR_FIELDS}
