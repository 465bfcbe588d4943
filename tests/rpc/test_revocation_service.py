"""The deny list over gRPC: what is revoked on the admin address is refused on the other one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from usher.v1 import query_service_pb2, token_service_pb2
from usher.v1 import revocation_service_pb2 as pb

from sidecar.core.deny_list import By
from sidecar.core.errors import Reason, UsherError
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.services.access import Listener
from tests.fakes import START, FakeClock
from tests.rpc.running import (
    ISSUE,
    LIFT_REVOCATION,
    LIST_REVOCATIONS,
    REVOKE_TOKENS,
    RUN,
    VERIFY,
    WHO_AM_I,
    Running,
    issue,
    principal,
    run,
    running,
)

LEAST = 3720


@dataclass(frozen=True)
class Asked:
    """A token, and what there is to be asked about it."""

    there: Running
    token: str

    @property
    def scope(self) -> query_service_pb2.Scope:
        return query_service_pb2.Scope(token=self.token)

    def requests(self) -> list[tuple[str, Any, str]]:
        """Everything that a token lets in, each with the field that holds it."""
        return [
            (VERIFY, token_service_pb2.VerifyTokenRequest(token=self.token), "token"),
            (RUN, run(scope=self.scope), "scope.token"),
            (WHO_AM_I, query_service_pb2.WhoAmIRequest(scope=self.scope), "scope.token"),
        ]


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(Listener.ADMIN, f"unix:{tmp_path}/admin.sock") as there:
        yield there


async def revoke(there: Running, **fields: Any) -> pb.RevokeTokensResponse:
    return await there.answer(REVOKE_TOKENS, pb.RevokeTokensRequest(**fields), pb.RevokeTokensResponse)


async def listed(there: Running, **fields: Any) -> pb.ListRevocationsResponse:
    return await there.answer(
        LIST_REVOCATIONS, pb.ListRevocationsRequest(**fields), pb.ListRevocationsResponse
    )


@pytest.mark.parametrize("by", By)
async def test_an_entry_is_made_listed_and_lifted(there: Running, by: By) -> None:
    revoked = pb.Revoked(**{by.value: "value-1"})
    answer = await revoke(there, revoked=revoked)
    entry = answer.revocation
    assert entry.revoked == revoked
    assert (entry.revoke_time.seconds, entry.expire_time.seconds) == (int(START), int(START) + LEAST)
    assert not entry.HasField("issued_until_time")
    assert not answer.shared, "the memory of one process"
    found = await listed(there)
    assert (list(found.revocations), found.total, found.shared) == ([entry], 1, False)
    other = {by_: pb.Revoked(**{by_.value: "value-1"}) for by_ in By if by_ is not by}
    for wrong in (*other.values(), pb.Revoked(**{by.value: "value-2"})):
        request = pb.LiftRevocationRequest(revoked=wrong)
        assert not (await there.answer(LIFT_REVOCATION, request, pb.LiftRevocationResponse)).lifted
    request = pb.LiftRevocationRequest(revoked=revoked)
    assert (await there.answer(LIFT_REVOCATION, request, pb.LiftRevocationResponse)).lifted
    assert (await listed(there)).total == 0


async def test_a_user_is_signed_out_or_locked_out_and_for_how_long(there: Running) -> None:
    answer = await revoke(there, revoked={"sub": "alice"}, existing_tokens_only=True)
    assert answer.revocation.issued_until_time.seconds == int(START)
    answer = await revoke(there, revoked={"sub": "alice"}, duration={"seconds": 86_400})
    assert not answer.revocation.HasField("issued_until_time")
    assert answer.revocation.expire_time.seconds == int(START) + 86_400
    answer = await revoke(there, revoked={"sub": "bob"}, duration={"seconds": 60})
    assert answer.revocation.expire_time.seconds == int(START) + LEAST, "a token may live so long"


@pytest.mark.parametrize("by", [By.JTI, By.KID])
async def test_only_a_user_can_be_signed_out(there: Running, by: By) -> None:
    request = pb.RevokeTokensRequest(revoked={by.value: "x"}, existing_tokens_only=True)
    refused = await there.refusal(REVOKE_TOKENS, request)
    assert refused.reason == "INVALID_FIELD"
    assert set(refused.violations) == {"existing_tokens_only"}


@pytest.mark.parametrize("method", [REVOKE_TOKENS, LIFT_REVOCATION])
async def test_what_no_database_can_store_is_refused(there: Running, method: str) -> None:
    request_class = pb.RevokeTokensRequest if method == REVOKE_TOKENS else pb.LiftRevocationRequest
    refused = await there.refusal(method, request_class(revoked={"sub": "a\0b"}))
    assert set(refused.violations) == {"revoked.sub"}


async def test_of_many_entries_the_newest_are_listed(there: Running) -> None:
    for number in range(5):
        await revoke(there, revoked={"jti": f"id-{number}"})
        await there.clock.advance(1)
    found = await listed(there, max_entries=2)
    assert [entry.revoked.jti for entry in found.revocations] == ["id-4", "id-3"]
    assert found.total == 5


async def asked(there: Running) -> Asked:
    return Asked(there=there, token=await there.token(tenant_id="acme"))


@pytest.mark.parametrize("by", By)
async def test_a_revoked_token_is_refused_everywhere(by: By) -> None:
    async with running() as there:
        held = await asked(there)
        verified = await there.answer(
            VERIFY,
            token_service_pb2.VerifyTokenRequest(token=held.token),
            token_service_pb2.VerifyTokenResponse,
        )
        value = {By.JTI: verified.jti, By.SUB: "alice", By.KID: verified.kid}[by]
        await there.revocations.revoke(by, value)
        before = len(there.backend.scopes)
        for method, request, path in held.requests():
            refused = await there.refusal(method, request)
            assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "TOKEN_REVOKED"), method
            assert (refused.metadata["revoked_by"], refused.metadata["field"]) == (by.value, path)
            assert value not in f"{refused.message} {refused.metadata}"
            assert refused.retry_after is None
        assert len(there.backend.scopes) == before, "nothing reaches the database"


async def test_a_revoked_user_is_refused_when_named_directly_and_gets_no_token() -> None:
    async with running() as there:
        await there.revocations.revoke(By.SUB, "alice")
        for method, request in (
            (RUN, run()),
            (WHO_AM_I, query_service_pb2.WhoAmIRequest(scope=principal())),
            (ISSUE, issue()),
            (ISSUE, token_service_pb2.IssueTokenRequest(subject="alice", validate_only=True)),
        ):
            refused = await there.refusal(method, request)
            assert (refused.reason, refused.metadata["revoked_by"]) == ("TOKEN_REVOKED", "sub"), method
        await there.answer(RUN, run(scope=principal("bob")), query_service_pb2.RunScopedQueryResponse)


async def test_the_scope_of_a_token_knows_its_key() -> None:
    async with running() as there:
        held = await asked(there)
        await there.answer(RUN, run(scope=held.scope), query_service_pb2.RunScopedQueryResponse)
        await there.answer(RUN, run(), query_service_pb2.RunScopedQueryResponse)
        active = there.signer.ring.active
        assert active is not None
        assert [scope.kid for scope in there.backend.scopes] == [active.key.kid, None]


class Away(MemoryRevocations):
    """A store that cannot be reached."""

    async def read(self) -> Any:
        raise UsherError(Reason.DATABASE_UNAVAILABLE, "the database does not answer")


async def test_a_list_that_cannot_be_read_lets_nobody_through_and_says_so() -> None:
    async with running(store=Away(FakeClock())) as there:
        held = await asked(there)  # issuing goes on
        for method, request in [(m, r) for m, r, _ in held.requests()] + [(RUN, run())]:
            refused = await there.refusal(method, request)
            assert (refused.code, refused.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE"), method
            assert refused.retry_after is not None
        assert there.backend.scopes == []


async def test_a_store_that_cannot_be_reached_revokes_nothing(tmp_path: Path) -> None:
    async with running(Listener.ADMIN, f"unix:{tmp_path}/admin.sock", store=Away(FakeClock())) as there:
        for method, request in (
            (REVOKE_TOKENS, pb.RevokeTokensRequest(revoked={"jti": "x"})),
            (LIST_REVOCATIONS, pb.ListRevocationsRequest()),
            (LIFT_REVOCATION, pb.LiftRevocationRequest(revoked={"jti": "x"})),
        ):
            assert (await there.refusal(method, request)).reason == "DATABASE_UNAVAILABLE"
