"""The access table decides where an RPC can be reached."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.core.callers import ANONYMOUS, Caller, Proof
from sidecar.core.errors import UsherError
from sidecar.rpc.server import RpcListener
from sidecar.services.access import ACCESS, Listener, Needs, check_needs
from sidecar.services.callers import LOCAL_ADMIN
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
        Listener.ADMIN: ["usher.v1.KeyService", "usher.v1.RevocationService"],
    }


def test_what_changes_keys_or_revokes_needs_the_admin_address_and_an_admin() -> None:
    admins = {name for name in ACCESS if "KeyService" in name or "RevocationService" in name}
    assert {name for name, access in ACCESS.items() if access.listener is Listener.ADMIN} == admins
    assert {name for name, access in ACCESS.items() if access.needs is Needs.ADMIN} == admins
    assert [listener.value for listener in Listener] == ["grpc_address", "grpc_admin_address"]


def test_only_a_query_may_be_as_large_as_a_message() -> None:
    assert [name for name, access in ACCESS.items() if access.max_request_bytes is None] == [
        "usher.v1.QueryService/RunScopedQuery",
        "usher.v1.QueryService/StreamScopedQuery",
    ]


KNOWN = Caller(name="robot", proof=Proof.KEY, identity="key 00000000", admin=False, attributes={})


def test_an_admin_rpc_needs_an_admin_whatever_a_policy_says() -> None:
    access = ACCESS["usher.v1.KeyService/RotateKeys"]
    check_needs(access, LOCAL_ADMIN)
    check_needs(access, replace(KNOWN, admin=True))
    for caller, reason in ((KNOWN, "POLICY_REFUSED"), (ANONYMOUS, "CALLER_UNAUTHENTICATED")):
        with pytest.raises(UsherError) as caught:
            check_needs(access, caller)
        assert caught.value.reason == reason


def test_another_rpc_needs_no_admin() -> None:
    for caller in (ANONYMOUS, KNOWN):
        check_needs(ACCESS["usher.v1.TokenService/IssueToken"], caller)
