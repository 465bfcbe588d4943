"""Everything worth observing, as records. Log and metrics are two readers of them.

No record holds a claim, token, key, parameter or SQL text. Those that calls make are not frozen, which would
more than double what they cost; nobody changes one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class RpcFinished:
    """A gRPC call was answered. `code` is the gRPC status name, `reason` an ErrorReason or "".

    `caller` is a name of the policy or anonymous, `identity` what proved it; "" for one that is not known.
    """

    service: str
    method: str
    code: str
    reason: str
    blame: str
    seconds: float
    request_id: str
    caller: str = ""
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcFault:
    """A fault in Usher itself; `error` goes to the log only."""

    method: str
    request_id: str
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsRefused:
    """There are more calls than can be served: `count` were refused since the last such record, before
    anything was done for them. `inside` are being served or wait."""

    count: int
    inside: int


@dataclass(slots=True, kw_only=True)
class TokenIssued:
    """A token was signed."""

    alg: str
    kid: str
    ttl_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReused:
    """A token that was signed before answered an equal request."""

    alg: str
    kid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRefused:
    """A token did not verify; `reason` is an ErrorReason."""

    reason: str


@dataclass(slots=True, kw_only=True)
class QueryFinished:
    """A scoped query or transaction ended. `outcome` is "ok" or an ErrorReason.

    `statements` is how many it has, 1 for a query; `rows` are of all, `truncated` says that one was cut.
    `database_seconds` runs from the request for a connection to the answer: the wait for a free connection
    and the coding of values are in it.
    """

    backend: str
    outcome: str
    rows: int
    truncated: bool
    statements: int = 1
    database_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStepped:
    """A key changed its state: `step` is prepare, activate, retire, drop or revoke; `forced` out of turn."""

    step: str
    kid: str
    alg: str
    forced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationFailed:
    """A due step could not be done; the ring stays as it was and the step is tried again."""

    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStoreStateChanged:
    """The key store became reachable or not; `detail` is public text without addresses or passwords."""

    kind: str
    reachable: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStoreConflict:
    """Another replica was first with a change of the ring. No failure: its ring is in force here."""

    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStoreOlder:
    """The store holds an older ring than this process has served: it lost what it had stored.

    The newer ring stays in force and is put back.
    """

    found: int
    served: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHeldBack:
    """A key would sign now, but named verifiers have not fetched it; at `goes_on_at` it signs anyway."""

    kid: str
    verifiers: str
    goes_on_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkewed:
    """This machine's clock and the key store's have come to differ much, or no longer do.

    Keys and tokens follow the store's. `signs` is false when the difference is too large for that.
    """

    skew: float
    skewed: bool
    signs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyActivatedUnseen:
    """A key signs although named verifiers have not been seen to fetch it: they may refuse its tokens."""

    kid: str
    verifiers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JwksServed:
    """The JWKS was asked for, `count` times. `agent` is a named verifier, or a bounded class of user agent:
    neon-proxy, browser, other. `version` is that of the key ring whose set the client has now, 0 for none."""

    status: int
    agent: str
    version: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySetRefused:
    """A key set was to be published that is `empty`, or not newer than the one served, which stays.

    `version` and `served` are those of the two rings.
    """

    version: int
    served: int
    empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicHttpEnded:
    """The process of the public listener ended unasked, and is replaced. `code` is its exit status, or minus
    the number of the signal that ended it."""

    code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEnded:
    """A worker ended unasked, or hung, and is replaced in `again_in` seconds.

    `code` is as in PublicHttpEnded.
    """

    worker: int
    code: int
    again_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerNotStarted:
    """A worker that was to replace another did not start, and is tried again. `detail` is public text."""

    worker: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStateChanged:
    """The database became reachable or not; `detail` is public text without addresses or passwords."""

    reachable: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionDiscarded:
    """A database connection was closed rather than reused, because it might not be clean."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Start, ready, drain, stop; `detail` is public text."""

    phase: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyWeakened:
    """A setting that weakens safety is in force; said once at start."""

    setting: str
    consequence: str


@dataclass(slots=True, kw_only=True)
class PolicyDecided:
    """The policy allowed or refused a call. `caller` is a name of the policy, "anonymous" or "unknown".

    `verdict` is allowed or refused, `rule` the path of the field that refused.
    """

    caller: str
    method: str
    verdict: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoaded:
    """The policy file was read. `outcome` is loaded, or refused: then the one before stays in force.

    `callers` counts those in force; `detail` says where the file is wrong, without values.
    """

    outcome: str
    callers: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerRefused:
    """A call came from nobody known. `proof` is the kind that did not hold, anonymous for none at all.

    `detail` is what the caller was told.
    """

    proof: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerKeysFetched:
    """The keys of service-account tokens were asked for. `outcome` is fetched or failed; `keys` counts those
    in use, which stay when it failed."""

    outcome: str
    keys: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsLoaded:
    """The TLS files were read. `outcome` is loaded, or refused: then what was read before stays in force.

    `expires_at` is that of the certificate in force, seconds since 1970; `detail` says which file is wrong.
    """

    outcome: str
    expires_at: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimKeyLoaded:
    """Another claim key was read. `outcome` is loaded, or refused: then the one before stays in force.

    `detail` says why, without the key.
    """

    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationsRead:
    """The deny list was read. `outcome` is read or failed; when it failed, the list before stays in force."""

    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensRevoked:
    """An entry of the deny list was made or removed here: `action` revoke or lift, `by` jti, sub or kid."""

    by: str
    action: str


Event = (
    RpcFinished
    | RpcFault
    | CallsRefused
    | TokenIssued
    | TokenReused
    | TokenRefused
    | QueryFinished
    | KeyStepped
    | RotationFailed
    | KeyStoreStateChanged
    | KeyStoreConflict
    | KeyStoreOlder
    | KeyHeldBack
    | KeyActivatedUnseen
    | ClockSkewed
    | JwksServed
    | KeySetRefused
    | PublicHttpEnded
    | WorkerEnded
    | WorkerNotStarted
    | DatabaseStateChanged
    | ConnectionDiscarded
    | Lifecycle
    | SafetyWeakened
    | PolicyDecided
    | PolicyLoaded
    | CallerRefused
    | CallerKeysFetched
    | TlsLoaded
    | RevocationsRead
    | TokensRevoked
    | ClaimKeyLoaded
)

Observer = Callable[[Event], None]
"""A reader of events. Called on the event loop; must be quick and must not raise."""


def ignore(event: Event) -> None:
    """The observer that looks away."""
