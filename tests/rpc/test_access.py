"""The access table decides where an RPC can be reached."""

from __future__ import annotations

from sidecar.rpc.access import ACCESS, Listener
from sidecar.rpc.server import RpcListener
from tests.rpc.running import new_handlers, new_parts


async def test_every_handler_stands_in_the_table() -> None:
    _, every = new_handlers(new_parts())
    assert {f"{service}/{name}" for service, methods in every.items() for name in methods} == set(ACCESS)


async def test_each_rpc_is_served_on_exactly_one_address() -> None:
    _, every = new_handlers(new_parts())
    served = {
        listener: RpcListener(listener, "127.0.0.1:0", every, max_message_bytes=1, reflection=False).services
        for listener in Listener
    }
    assert served == {
        Listener.DATA: ["usher.v1.TokenService", "usher.v1.QueryService"],
        Listener.ADMIN: ["usher.v1.KeyService"],
    }


def test_what_changes_keys_needs_the_admin_address() -> None:
    assert {name for name, where in ACCESS.items() if where is Listener.ADMIN} == {
        name for name in ACCESS if "KeyService" in name
    }
    assert [listener.value for listener in Listener] == ["grpc_address", "grpc_admin_address"]
