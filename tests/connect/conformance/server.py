"""The conformance suite's service on our transport: listener, HTTP and rules are those of sidecar/connect.

    python -m tests.connect.conformance.server STUBS

STUBS is a folder with the suite's messages. Reads a ServerCompatRequest, serves, and says where.
"""

from __future__ import annotations

import asyncio
import json
import signal
import struct
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

from connectrpc.conformance.v1 import server_compat_pb2, service_pb2  # type: ignore[import-not-found]
from google.protobuf import json_format

from sidecar.connect.errors import JSON_TYPE, detail_of, document_of, failure, plain_error
from sidecar.connect.messages import Request, Response, StreamedResponse, Write
from sidecar.connect.opening import PROTO_TYPE, STREAMING, UNARY, Opened
from sidecar.connect.server import ConnectListener
from sidecar.connect.streaming import enveloped, message_in, streamed
from sidecar.connect.tls import TlsPaths
from sidecar.services.status import Code

SERVICE = "/connectrpc.conformance.v1.ConformanceService/"
MESSAGES = {
    "Unary": (service_pb2.UnaryRequest, service_pb2.UnaryResponse),
    "IdempotentUnary": (service_pb2.IdempotentUnaryRequest, service_pb2.IdempotentUnaryResponse),
}


class Conformance:
    """Answers as the suite's requests ask it to."""

    def body_limit(self, path: str) -> int:
        return 4 * 2**20

    async def answer(self, request: Request) -> Response | StreamedResponse:
        if request.path == f"{SERVICE}ServerStream" and request.method == "POST":
            return _stream(request)
        messages = MESSAGES.get(request.path.removeprefix(SERVICE))
        if messages is None:
            known = request.path == f"{SERVICE}Unimplemented"
            return plain_error(Code.UNIMPLEMENTED, "not offered") if known else Response(404)
        if request.method != "POST":
            return Response(405)
        opened = UNARY.opened(request)
        if opened is None:
            return UNARY.unsupported()
        if not isinstance(opened, Opened):
            return plain_error(opened.code, opened.message, *opened.headers)
        request_class, response_class = messages
        try:
            asked = (
                json_format.Parse(request.body, request_class())
                if opened.in_json
                else request_class.FromString(request.body)
            )
        except Exception:
            return plain_error(Code.INVALID_ARGUMENT, "no such message")
        try:
            async with asyncio.timeout(opened.timeout):
                await asyncio.sleep(asked.response_definition.response_delay_ms / 1000)
        except TimeoutError:
            return plain_error(Code.DEADLINE_EXCEEDED, "the deadline passed")
        return _answered(request, asked, response_class(), opened)


def _answered(request: Request, asked: Any, response: Any, opened: Any) -> Response:
    wanted = asked.response_definition
    info = _info(request, asked, opened)
    headers = _fields(wanted.response_headers) + _fields(wanted.response_trailers, b"trailer-")
    if wanted.HasField("error"):
        details = [detail_of(detail) for detail in wanted.error.details]
        wrapped = wanted.error.details.add()
        wrapped.Pack(info)
        return failure(Code(wanted.error.code), wanted.error.message, [*details, detail_of(wrapped)], headers)
    response.payload.data = wanted.response_data
    response.payload.request_info.CopyFrom(info)
    if opened.in_json:
        body = json.dumps(json_format.MessageToDict(response)).encode()
        return Response(200, JSON_TYPE, body, tuple(headers))
    return Response(200, PROTO_TYPE, response.SerializeToString(), tuple(headers))


def _info(request: Request, asked: Any, opened: Opened) -> Any:
    info = service_pb2.ConformancePayload.RequestInfo()
    for name in request.names:
        info.request_headers.add(name=name.decode(), value=request.every(name))
    if opened.timeout is not None:
        info.timeout_ms = round(opened.timeout * 1000)
    info.requests.add().Pack(asked)
    return info


def _fields(group: Any, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
    return [(prefix + header.name.encode(), value.encode()) for header in group for value in header.value]


def _stream(request: Request) -> Response | StreamedResponse:
    opened = STREAMING.opened(request)
    if opened is None:
        return STREAMING.unsupported()
    message = message_in(request.body)
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(opened, Opened) and isinstance(message, bytes):
        headers = _fields(_asked(opened, message).response_definition.response_headers)
    response = streamed(request, opened, message, _messages)
    return replace(response, headers=(*response.headers, *headers))


def _asked(opened: Opened, message: bytes) -> Any:
    asked = service_pb2.ServerStreamRequest()
    return json_format.Parse(message, asked) if opened.in_json else asked.FromString(message)


async def _messages(request: Request, opened: Opened, message: bytes, write: Write) -> dict[str, Any]:
    asked = _asked(opened, message)
    wanted, info = asked.response_definition, _info(request, asked, opened)
    metadata = {header.name: list(header.value) for header in wanted.response_trailers}
    end: dict[str, Any] = {"metadata": metadata} if metadata else {}
    try:
        async with asyncio.timeout(opened.timeout):
            for number, data in enumerate(wanted.response_data):
                await asyncio.sleep(wanted.response_delay_ms / 1000)
                response = service_pb2.ServerStreamResponse()
                response.payload.data = data
                if number == 0:
                    response.payload.request_info.CopyFrom(info)
                encoded = (
                    json.dumps(json_format.MessageToDict(response)).encode()
                    if opened.in_json
                    else response.SerializeToString()
                )
                await write(enveloped(encoded))
    except TimeoutError:
        return end | {"error": document_of(Code.DEADLINE_EXCEEDED, "the deadline passed", [])}
    if wanted.HasField("error"):
        details = [detail_of(detail) for detail in wanted.error.details]
        if not wanted.response_data:
            wrapped = wanted.error.details.add()
            wrapped.Pack(info)
            details.append(detail_of(wrapped))
        end["error"] = document_of(Code(wanted.error.code), wanted.error.message, details)
    return end


async def main() -> None:
    (size,) = struct.unpack(">I", sys.stdin.buffer.read(4))
    asked = server_compat_pb2.ServerCompatRequest.FromString(sys.stdin.buffer.read(size))
    answer = server_compat_pb2.ServerCompatResponse(host="127.0.0.1")
    with tempfile.TemporaryDirectory() as folder:
        tls = None
        if asked.use_tls:
            place = Path(folder)
            (place / "cert").write_bytes(asked.server_creds.cert)
            (place / "key").write_bytes(asked.server_creds.key)
            (place / "ca").write_bytes(asked.client_tls_cert)
            tls = TlsPaths(
                cert=place / "cert",
                key=place / "key",
                client_ca=place / "ca" if asked.client_tls_cert else None,
            )
            answer.pem_cert = asked.server_creds.cert
        listener = ConnectListener(
            "127.0.0.1:0", Conformance(), lambda event: print(event, file=sys.stderr), tls=tls
        )
        address = await listener.start()
    answer.port = int(address.rpartition(":")[2])
    data = answer.SerializeToString()
    sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)
    sys.stdout.buffer.flush()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await listener.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
