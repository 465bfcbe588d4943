"""The room's parts on a real socket, with a backend that does what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from usher.v1 import query_service_pb2, token_service_pb2, values_pb2

from sidecar.core import keyring
from sidecar.core.callers import ANONYMOUS, Caller
from sidecar.core.issuer import Issuer, IssuerSettings, Scope
from sidecar.core.keyring import RotationSettings
from sidecar.core.keys import Algorithm, generate
from sidecar.core.policy import Authorizer, Policy
from sidecar.core.queries import Deliver, QuerySettings, ScopedQueries, SeenIdentity, Statement
from sidecar.core.revocation_memory import MemoryRevocations
from sidecar.core.revocations import Revocations, RevocationSettings, RevocationStore
from sidecar.core.rotation import Rotator
from sidecar.core.signer import Signer
from sidecar.core.statements import Catalog
from sidecar.core.streams import ScopedStreams, StreamSettings
from sidecar.core.transactions import Isolation, ScopedTransactions, Transaction
from sidecar.core.values import Column, Kind, ResultSet, Rows, StreamEnd
from sidecar.rpc.calls import CallFactory
from sidecar.rpc.doors import OPEN_DOOR, Door
from sidecar.rpc.server import Handlers, RpcListener, handlers
from sidecar.services.access import Listener
from sidecar.services.admission import Admission
from sidecar.services.callers import LOCAL_ADMIN, Callers
from sidecar.services.calls import Calls
from sidecar.services.convert import dict_to_struct
from sidecar.services.key_service import KeyService
from sidecar.services.query_service import QueryService
from sidecar.services.revocation_service import RevocationService
from sidecar.services.rpcs import StreamRpc, UnaryRpc, every_rpc
from sidecar.services.token_service import TokenService
from tests.fakes import START, FakeClock, Recorder

M = TypeVar("M", bound=Message)
Sealed = TypeVar("Sealed")

ISSUER = "https://issuer.example"
PATIENCE = 10.0
MIB = 1024**2

ISSUE = "usher.v1.TokenService/IssueToken"
VERIFY = "usher.v1.TokenService/VerifyToken"
RUN = "usher.v1.QueryService/RunScopedQuery"
STREAM = "usher.v1.QueryService/StreamScopedQuery"
TRANSACT = "usher.v1.QueryService/RunScopedTransaction"
WHO_AM_I = "usher.v1.QueryService/WhoAmI"
LIST_KEYS = "usher.v1.KeyService/ListKeys"
ROTATE_KEYS = "usher.v1.KeyService/RotateKeys"
REVOKE_KEY = "usher.v1.KeyService/RevokeKey"
REVOKE_TOKENS = "usher.v1.RevocationService/RevokeTokens"
LIST_REVOCATIONS = "usher.v1.RevocationService/ListRevocations"
LIFT_REVOCATION = "usher.v1.RevocationService/LiftRevocation"

ID_COLUMN = Column(name="id", type_name="int8", type_oid=20, kind=Kind.INT)


def integers(*ids: int) -> ResultSet:
    """A result of one column."""
    return ResultSet(
        columns=(ID_COLUMN,),
        data=(list(ids),),
        row_count=len(ids),
        truncated=False,
        command_tag=f"SELECT {len(ids)}",
        affected_rows=len(ids),
    )


class ScriptedBackend:
    """Gives every statement the same end, at once or when `released` is set."""

    kind = "scripted"

    def __init__(self) -> None:
        self.result = integers(1, 2, 3)
        self.failure: BaseException | None = None
        self.seen = SeenIdentity(
            role="authenticated",
            login_role="usher_app",
            user_id="alice",
            session='{"sub":"alice"}',
            claims_age=1.5,
            row_security_applies=True,
            database="app",
            server_version=180_004,
        )
        self.started = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()
        self.cancelled = asyncio.Event()
        self.scopes: list[Scope] = []
        self.statements: list[Statement] = []
        self.isolation: Isolation | None = None
        self.commits = 0
        self.endless = False
        self.delivered = 0

    async def run(
        self, scope: Scope, statement: Statement, seal: Callable[[ResultSet], Sealed]
    ) -> tuple[Sealed, ResultSet]:
        alone = Transaction(statements=(statement,))
        sealed, _ = await self.run_transaction(scope, alone, lambda results: seal(results[0]))
        return sealed, self.result

    async def run_transaction(
        self, scope: Scope, transaction: Transaction, seal: Callable[[Sequence[ResultSet]], Sealed]
    ) -> tuple[Sealed, Sequence[ResultSet]]:
        self.scopes.append(scope)
        self.statements += transaction.statements
        self.isolation = transaction.isolation
        self.started.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.failure is not None:
            raise self.failure
        results = [self.result] * len(transaction.statements)
        sealed = seal(results)
        self.commits += 1
        return sealed, results

    async def stream(self, scope: Scope, statement: Statement, deliver: Deliver) -> None:
        """One chunk, again and again while `endless`, then the end or the failure."""
        self.scopes.append(scope)
        self.statements.append(statement)
        result = self.result
        rows = Rows(columns=result.columns, data=result.data, row_count=result.row_count)
        try:
            await deliver(result.columns)
            await deliver(rows)
            self.started.set()
            while self.endless:
                await deliver(rows)
                self.delivered += 1
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.failure is not None:
            raise self.failure
        await deliver(
            StreamEnd(row_count=result.row_count, truncated=result.truncated, command_tag=result.command_tag)
        )

    async def who_am_i(self, scope: Scope) -> SeenIdentity:
        self.scopes.append(scope)
        if self.failure is not None:
            raise self.failure
        return self.seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A status as the caller sees it."""

    code: str
    message: str
    reason: str = ""
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    wire_bytes: int = 0


class Running:
    """A listener that listens, its parts, and a client of it."""

    def __init__(
        self,
        listener: RpcListener,
        calls: Calls,
        parts: Parts,
        channel: Callable[[str], grpc.aio.Channel],
    ) -> None:
        self.listener = listener
        self.calls = calls
        self.backend = parts.backend
        self.clock = parts.clock
        self.seen = parts.seen
        self.signer = parts.signer
        self.revocations = parts.revocations
        self.authorizer = parts.authorizer
        self.channel = channel(listener.address)

    def start(
        self, method: str, request: Message | bytes, timeout: float | None = PATIENCE, **metadata: str
    ) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        """Starts a call. Bytes are sent as they are."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        headers = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
        method_call: Any = self.channel.unary_unary(f"/{method}")
        return method_call(data, timeout=timeout, metadata=headers)  # type: ignore[no-any-return]

    def stream(
        self, request: Message, timeout: float | None = PATIENCE, **metadata: str
    ) -> grpc.aio.UnaryStreamCall[bytes, query_service_pb2.StreamScopedQueryResponse]:
        """Starts a stream."""
        headers = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
        parse = query_service_pb2.StreamScopedQueryResponse.FromString
        method_call: Any = self.channel.unary_stream(f"/{STREAM}", response_deserializer=parse)
        return method_call(request.SerializeToString(), timeout=timeout, metadata=headers)  # type: ignore[no-any-return]

    async def answer(self, method: str, request: Message | bytes, response: type[M], **options: Any) -> M:
        """The answer to a call that succeeds."""
        return response.FromString(await self.start(method, request, **options))

    async def refusal(self, method: str, request: Message | bytes, **options: Any) -> Refused:
        """How a call is refused."""
        try:
            await self.start(method, request, **options)
        except grpc.aio.AioRpcError as error:
            return refused(error)
        raise AssertionError("the call succeeded")

    async def token(self, **claims: Any) -> str:
        """A token of alice."""
        answer = await self.answer(ISSUE, issue(**claims), token_service_pb2.IssueTokenResponse)
        return answer.token


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a listener serves."""

    backend: ScriptedBackend
    clock: FakeClock
    seen: Recorder
    signer: Signer
    revocations: Revocations
    rotation: RotationSettings
    authorizer: Authorizer
    catalog: Catalog
    caller: Caller
    callers: Callers | None


def insecure_channel(address: str) -> grpc.aio.Channel:
    """A channel without TLS, for results of any size."""
    return grpc.aio.insecure_channel(address, options=(("grpc.max_receive_message_length", -1),))


def refused(error: grpc.aio.AioRpcError) -> Refused:
    """The status of an error, its details unpacked."""
    found: dict[str, Any] = {}
    wire = len((error.details() or "").encode())
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        wire += len(value) * 4 // 3
        status = status_pb2.Status.FromString(value)
        assert (status.code, status.message) == (error.code().value[0], error.details())
        for detail in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                assert "reason" not in found, "AIP-193 allows one ErrorInfo"
                found |= {"reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}
            elif detail.Unpack(bad):
                found["violations"] = {item.field: item.description for item in bad.field_violations}
            elif detail.Unpack(retry):
                found["retry_after"] = retry.retry_delay.ToTimedelta().total_seconds()
    return Refused(code=error.code().name, message=error.details() or "", wire_bytes=wire, **found)


async def until(holds: Callable[[], object]) -> None:
    """Lets everything go on until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(
    served: Listener = Listener.DATA,
    address: str = "127.0.0.1:0",
    *,
    max_message_bytes: int = 4 * MIB,
    max_unread: int = 500,
    default_deadline: float = PATIENCE,
    max_deadline: float = 60.0,
    max_stream_deadline: float = 600.0,
    change: Callable[[Handlers, CallFactory], Handlers] = lambda every, calls: every,
    policy: Policy | None = None,
    catalog: Catalog | None = None,
    caller: Caller = ANONYMOUS,
    callers: Callers | None = None,
    door: Door = OPEN_DOOR,
    channel: Callable[[str], grpc.aio.Channel] | None = None,
    store: RevocationStore | None = None,
) -> AsyncIterator[Running]:
    """A started listener for the time of the block; `change` may put other handlers in.

    Every call is `caller`'s, unless `callers` says whose it is. `channel` connects the client. With a `store`
    the deny list must be current, and nobody reads it but the test.
    """
    parts = new_parts(policy=policy, catalog=catalog, caller=caller, callers=callers, store=store)
    calls, factory, rpcs = new_calls(
        parts,
        max_message_bytes,
        default_deadline,
        max_deadline=max_deadline,
        max_stream_deadline=max_stream_deadline,
    )
    listener = RpcListener(
        served,
        address,
        change(handlers(factory, rpcs), factory),
        max_message_bytes=max_message_bytes,
        max_unread=max_unread,
        reflection=True,
        door=door,
    )
    await listener.start()
    try:
        there = Running(listener, calls, parts, channel or insecure_channel)
        try:
            yield there
        finally:
            await there.channel.close()
    finally:
        await listener.stop(0)


def new_parts(
    now: float = START,
    *,
    policy: Policy | None = None,
    catalog: Catalog | None = None,
    caller: Caller = ANONYMOUS,
    callers: Callers | None = None,
    store: RevocationStore | None = None,
) -> Parts:
    """A signer with two keys, and a backend."""
    clock, seen, rotation = FakeClock(now), Recorder(), RotationSettings()
    keys = [generate(Algorithm.ES256, 0) for _ in range(2)]
    ring, _ = keyring.begin(keys[0], keys[1], clock.now())
    revocations = Revocations(
        store or MemoryRevocations(clock),
        RevocationSettings(least=rotation.hold, allow_stale=store is None),
        clock,
        seen,
    )
    return Parts(
        backend=ScriptedBackend(),
        clock=clock,
        seen=seen,
        signer=Signer(ring, rotation, ISSUER, clock, seen, revocations),
        revocations=revocations,
        rotation=rotation,
        authorizer=Authorizer(policy, clock, seen),
        catalog=catalog or Catalog(),
        caller=caller,
        callers=callers,
    )


def new_handlers(parts: Parts) -> tuple[Calls, Handlers]:
    """Every handler of the contract."""
    calls, factory, rpcs = new_calls(parts)
    return calls, handlers(factory, rpcs)


def new_calls(
    parts: Parts, max_message_bytes: int = 4 * MIB, default_deadline: float = PATIENCE, **deadlines: float
) -> tuple[Calls, CallFactory, Sequence[UnaryRpc | StreamRpc]]:
    """What is around every call, and every RPC of the contract."""
    clock, seen, signer, authorizer = parts.clock, parts.seen, parts.signer, parts.authorizer
    issuer = Issuer(signer, IssuerSettings(issuer=ISSUER), clock, revocations=parts.revocations)

    async def identify(context: Any, listener: Listener) -> Caller:
        """The caller of this test; on the admin address without a policy, as if by its socket, an admin."""
        if parts.caller is ANONYMOUS and listener is Listener.ADMIN and authorizer.policy is None:
            return LOCAL_ADMIN
        return parts.caller

    admission = Admission(clock, seen, at_once=10, most=1000, longest_wait=PATIENCE)
    calls = Calls(clock, seen, default_deadline, authorizer, admission, **deadlines)
    factory = CallFactory(calls, parts.callers.identify if parts.callers is not None else identify)
    settings = QuerySettings()
    queries = ScopedQueries(parts.backend, settings, clock, seen, parts.catalog)
    streams = ScopedStreams(
        parts.backend, settings, StreamSettings(max_streams=2), clock, seen, parts.catalog
    )
    transactions = ScopedTransactions(
        parts.backend, queries, settings.transaction_max_statements, clock, seen
    )
    rotator = Rotator(signer, parts.rotation, clock, seen)
    rpcs = every_rpc(
        TokenService(issuer, signer, authorizer),
        QueryService(issuer, queries, streams, transactions, max_message_bytes, authorizer),
        KeyService(signer, rotator, parts.rotation, clock, authorizer),
        RevocationService(parts.revocations, authorizer),
        max_message_bytes,
    )
    return calls, factory, rpcs


def issue(
    subject: str = "alice", *, audiences: Sequence[str] = (), **claims: Any
) -> token_service_pb2.IssueTokenRequest:
    """A request for a token."""
    return token_service_pb2.IssueTokenRequest(
        subject=subject, audiences=audiences, claims=dict_to_struct(claims)
    )


def run(
    sql: str = "select id from things",
    *parameters: values_pb2.Value,
    scope: query_service_pb2.Scope | None = None,
    **options: Any,
) -> query_service_pb2.RunScopedQueryRequest:
    """A request to run SQL as alice."""
    return query_service_pb2.RunScopedQueryRequest(
        scope=scope if scope is not None else principal(),
        sql=sql,
        parameters=parameters,
        options=query_service_pb2.QueryOptions(**options),
    )


def stream(
    sql: str = "select id from things",
    *parameters: values_pb2.Value,
    scope: query_service_pb2.Scope | None = None,
    **options: Any,
) -> query_service_pb2.StreamScopedQueryRequest:
    """A request to stream SQL as alice."""
    return query_service_pb2.StreamScopedQueryRequest(
        scope=scope if scope is not None else principal(),
        sql=sql,
        parameters=parameters,
        options=query_service_pb2.StreamOptions(**options),
    )


def principal(subject: str = "alice", **claims: Any) -> query_service_pb2.Scope:
    """The scope of a subject named directly."""
    return query_service_pb2.Scope(
        principal=query_service_pb2.Principal(subject=subject, claims=dict_to_struct(claims))
    )
