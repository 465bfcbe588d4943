"""The list of RPCs is the contract's, with its messages and the limits of the access table."""

from __future__ import annotations

from usher.v1 import (
    key_service_pb2,
    query_service_pb2,
    revocation_service_pb2,
    token_service_pb2,
)

from sidecar.services.access import SMALL_REQUEST_BYTES
from tests.rpc.running import MIB, RUN, STREAM, TRANSACT, new_calls, new_parts


async def test_every_rpc_has_the_messages_that_the_contract_names() -> None:
    _, _, rpcs = new_calls(new_parts())
    listed = {
        f"{rpc.service}/{rpc.method}": (
            rpc.request_class.DESCRIPTOR.full_name,
            rpc.response_class.DESCRIPTOR.full_name,
        )
        for rpc in rpcs
    }
    assert listed == {
        f"{service.full_name}/{method.name}": (method.input_type.full_name, method.output_type.full_name)
        for file in (token_service_pb2, query_service_pb2, key_service_pb2, revocation_service_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert len(listed) == len(rpcs)


async def test_only_what_brings_statements_may_be_as_large_as_a_message() -> None:
    _, _, rpcs = new_calls(new_parts(), max_message_bytes=3 * MIB)
    limits = {f"{rpc.service}/{rpc.method}": rpc.max_request_bytes for rpc in rpcs}
    assert [limits.pop(rpc) for rpc in (RUN, STREAM, TRANSACT)] == [3 * MIB] * 3
    assert set(limits.values()) == {SMALL_REQUEST_BYTES}
