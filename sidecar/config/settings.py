"""Every setting, with its default, and the rules that bind them to each other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from sidecar.config.addresses import canonical, is_local, is_wildcard, takes_any_port
from sidecar.config.caller_settings import check_caller_settings
from sidecar.config.database_settings import check_database_settings
from sidecar.config.declaring import (
    Declared,
    address,
    agent_names,
    duration,
    file_mode,
    folder,
    integer,
    one_of,
    optional_address,
    optional_path,
    origins,
    setting,
    size,
    switch,
    tcp_address,
    whole_seconds,
)
from sidecar.config.key_settings import MEMORY, POSTGRES, check_key_settings
from sidecar.config.neon_settings import NEON_HTTP, check_neon_settings
from sidecar.config.stream_settings import check_stream_settings
from sidecar.config.worker_settings import addresses, check_worker_settings
from sidecar.core.errors import SettingsError
from sidecar.core.issuer import IssuerSettings
from sidecar.core.keys import Algorithm
from sidecar.core.queries import QuerySettings
from sidecar.core.revocations import RevocationSettings
from sidecar.core.rotation_settings import RotationSettings
from sidecar.postgres.pool import PoolSettings
from sidecar.postgres.scoped_backend import ClaimSettings, Identity
from sidecar.postgres.sessions import Pooling

ADDRESSES: Final = (
    "grpc_address",
    "grpc_admin_address",
    "connect_address",
    "http_address",
    "admin_http_address",
)
"""The settings that say where Usher listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, parsed and checked. Durations in seconds, sizes in bytes."""

    grpc_address: str = setting("127.0.0.1:50051", "where TokenService and QueryService listen", address)
    grpc_admin_address: str = setting(
        "", "where KeyService listens; empty: it is not served", optional_address
    )
    connect_address: str = setting(
        "",
        "where TokenService and QueryService answer the Connect protocol and curl; empty: nowhere",
        optional_address,
    )
    connect_origins: str = setting(
        "", "origins of web pages that may call connect_address; empty: none", origins
    )
    http_address: str = setting(
        "127.0.0.1:8080", "where the JWKS and issuer metadata are published", tcp_address
    )
    admin_http_address: str = setting(
        "127.0.0.1:9090", "where /metrics, /livez and /readyz answer", tcp_address
    )
    allow_anonymous: bool = setting(
        False,
        "lets gRPC listen on an address that other machines reach",
        switch,
        weakens="anyone who reaches the gRPC port is served",
    )
    policy_file: str = setting(
        "", "the policy: which caller may ask for what; empty: every caller may ask for all", optional_path
    )
    statements_dir: str = setting("", "the folder of named statements; empty: there are none", optional_path)
    grpc_socket_mode: str = setting(
        "0600", "permissions of gRPC's Unix sockets, in octal; other than 0600 needs policy_file", file_mode
    )
    tls_cert_file: str = setting(
        "", "gRPC's certificate and its chain, in PEM; read again on change", optional_path
    )
    tls_key_file: str = setting("", "the key of tls_cert_file, in PEM", optional_path)
    tls_client_ca_file: str = setting(
        "", "who signs clients' certificates, in PEM; every client then needs one", optional_path
    )
    caller_token_issuer: str = setting("", "the iss of callers' service-account tokens", str)
    caller_token_audience: str = setting("", "what aud of callers' service-account tokens must hold", str)
    caller_jwks_url: str = setting("", "where the keys of caller_token_issuer are published", str)
    caller_jwks_file: str = setting("", "a file with the keys of caller_token_issuer", optional_path)
    caller_jwks_ca_file: str = setting(
        "", "who signs the certificate of caller_jwks_url, in PEM; empty: the system's", optional_path
    )
    caller_jwks_token_file: str = setting(
        "", "a bearer token that caller_jwks_url asks for, as Kubernetes does", optional_path
    )
    reflection: bool = setting(True, "answers gRPC server reflection", switch)

    database_url: str = setting(
        "", "the database: postgresql://user:password@host:5432/name", str, secret=True
    )
    database_logins: int = setting(
        0,
        "how many logins the database has for Usher, named after the user in database_url; 0: that user",
        integer,
    )
    claim_key: str = setting(
        "", "what makes claims believed, as `usher db install --logins` printed it", str, secret=True
    )
    claim_key_file: str = setting("", "a file that holds claim_key", str)
    database_pooling: str = setting(
        "direct",
        "direct, or transaction for a PgBouncer in transaction mode, which needs shared_login",
        one_of("direct", "transaction"),
    )
    database_backend: str = setting(
        "auto",
        "how identity reaches Postgres: postgres, by signed claims; pg_session_jwt, by tokens for that "
        "extension; auto: by tokens where it is installed; neon-http: by Neon's POST /sql",
        one_of("auto", "postgres", "pg_session_jwt", NEON_HTTP),
    )
    neon_sql_url: str = setting(
        "", "neon-http: where statements are posted, for tests; empty: by the host in database_url", str
    )
    neon_ca_file: str = setting(
        "", "neon-http: who signs the certificate of that URL, in PEM; empty: the system's", optional_path
    )
    neon_audience: str = setting(
        "", "neon-http: what aud of every token holds; empty: what it holds anyway", str
    )
    database_role: str = setting("authenticated", "the role that scoped statements run as", str)
    shared_login: bool = setting(
        False,
        "accepts a database login that several sessions share",
        switch,
        weakens="users may read and cancel one another's running statements",
    )
    unsigned_claims: bool = setting(
        False,
        "accepts pg_session_jwt without a key, which believes plain claims; needs database_backend=postgres",
        switch,
        weakens="any SQL may make itself another user",
    )
    allow_privileged_login: bool = setting(
        False,
        "accepts a database login that is a superuser or has BYPASSRLS",
        switch,
        weakens="a statement may leave its scope and see every row",
    )
    show_database_messages: bool = setting(
        False,
        "adds Postgres' own message to errors",
        switch,
        weakens="error messages may hold values of rows and parameters",
    )
    pool_min_size: int = setting(1, "database connections kept open", integer)
    pool_max_size: int = setting(10, "most database connections", integer)
    pool_max_waiting: int = setting(500, "most calls that wait for a connection", integer)
    pool_acquire_timeout: float = setting(5.0, "longest wait for a free connection", duration)
    statement_timeout: float = setting(30.0, "longest run of a statement; also the default", duration)
    default_max_rows: int = setting(1000, "rows returned when a query names no limit", integer)
    max_rows: int = setting(10_000, "most rows a query may ask for", integer)
    max_sql_bytes: int = setting(256 * 1024, "longest SQL text", size)
    stream_max_rows: int = setting(0, "most rows of a stream; 0: as many as there are", integer)
    max_streams: int = setting(0, "most streams at a time; 0: half of pool_max_size", integer)
    transaction_max_statements: int = setting(100, "most statements of a transaction, up to 1000", integer)

    issuer: str = setting("", "the iss claim; empty: http:// and http_address", str)
    algorithm: str = setting("ES256", "how tokens are signed: ES256 or RS256", one_of("ES256", "RS256"))
    rsa_bits: int = setting(2048, "size of RS256 keys: 2048, 3072 or 4096", integer)
    token_ttl: int = setting(300, "lifetime of a token when none is asked for", whole_seconds)
    max_token_ttl: int = setting(3600, "longest lifetime of a token", whole_seconds)
    token_reuse: int = setting(
        0,
        "how long after it was signed a token answers equal requests of its caller; 0: each gets its own",
        whole_seconds,
    )
    rotation_period: int = setting(86_400, "how long a key signs", whole_seconds)
    rotation_lead_time: int = setting(3900, "how long a key is published before it signs", whole_seconds)
    unsafe_rotation_timing: bool = setting(
        False,
        "accepts a rotation faster than verifiers' caches, for tests",
        switch,
        weakens="verifiers with cached keys may refuse valid tokens",
    )

    key_store: str = setting(
        MEMORY,
        "where signing keys live: memory, until this process ends; postgres, for all replicas and restarts",
        one_of(MEMORY, POSTGRES),
    )
    key_store_url: str = setting(
        "", "the key store's database, as `usher keys install` printed it", str, secret=True
    )
    key_encryption_key: str = setting(
        "", "what seals private keys in the key store; several: the first seals, all open", str, secret=True
    )
    key_encryption_key_file: str = setting("", "a file that holds key_encryption_key", optional_path)
    key_encryption_key_command: str = setting(
        "", "a program and its arguments that print key_encryption_key, as of a KMS; run without a shell", str
    )
    verifiers: str = setting(
        "", "user agents that must have fetched a key before it signs, such as neon-proxy", agent_names
    )
    verifier_wait: int = setting(
        3600, "how long a verifier that stays away holds the next key back", whole_seconds
    )

    revocation_max_age: float = setting(
        60.0, "how old the deny list may be before tokens and scopes are refused", duration
    )
    allow_stale_revocations: bool = setting(
        False,
        "goes on when the deny list is older than revocation_max_age",
        switch,
        weakens="what is revoked while the deny list cannot be read is accepted",
    )

    default_deadline: float = setting(15.0, "deadline of a call that comes without one", duration)
    max_deadline: float = setting(60.0, "longest deadline of a call, whatever its caller asks for", duration)
    max_stream_deadline: float = setting(600.0, "longest deadline of a stream; also the default", duration)
    max_concurrent_calls: int = setting(1000, "most calls that run or wait at a time", integer)
    max_unread_calls: int = setting(
        500, "most gRPC calls of one method that wait to be looked at; gRPC cancels one more", integer
    )
    max_message_bytes: int = setting(4 * 1024**2, "largest gRPC message, either way", size)
    drain_grace: float = setting(10.0, "how long a stop waits for calls in flight", duration)
    workers: int = setting(
        1, "how many processes serve, each on a port or socket of its own; one uses one core", integer
    )
    event_loop: str = setting(
        "auto",
        "auto, uvloop or asyncio; auto: uvloop where it is installed",
        one_of("auto", "uvloop", "asyncio"),
    )
    log_format: str = setting("auto", "auto, text or json", one_of("auto", "text", "json"))
    log_level: str = setting(
        "info", "debug, info, warning or error", one_of("debug", "info", "warning", "error")
    )

    dev_data_dir: str = setting(".usher", "usher dev: where the embedded PostgreSQL keeps its data", folder)
    dev_postgres_port: int = setting(0, "usher dev: port of the embedded PostgreSQL; 0: a free one", integer)

    def validate(self) -> None:
        """Raises SettingsError for settings that break a guarantee or contradict each other."""
        check_worker_settings(self)
        every = [text for name in ADDRESSES for text in addresses(self, name)]
        fixed = [canonical(text) for text in every if text and not takes_any_port(text)]
        if len(set(fixed)) < len(fixed):
            raise SettingsError(
                f"{', '.join(ADDRESSES)} must all be different"
                + (
                    ", and so must the ports that follow them, one for each worker"
                    if self.workers > 1
                    else ""
                )
            )
        check_caller_settings(self)
        if self.dev_postgres_port > 65535:
            raise SettingsError("dev_postgres_port must be a port, 0 to 65535")
        if self.default_deadline <= 0 or self.drain_grace < 0 or self.pool_acquire_timeout <= 0:
            raise SettingsError(
                "default_deadline and pool_acquire_timeout must be positive, drain_grace not negative"
            )
        if self.max_deadline < self.default_deadline:
            raise SettingsError("max_deadline must not be shorter than default_deadline")
        if self.max_concurrent_calls < 1 or self.max_unread_calls < 1:
            raise SettingsError("max_concurrent_calls and max_unread_calls must be at least 1")
        if not 64 * 1024 <= self.max_message_bytes <= 512 * 1024**2:
            raise SettingsError("max_message_bytes must lie between 64KiB and 512MiB")
        # `usher serve` needs a URL, `usher dev` brings its own; the rest must hold in any case.
        dataclasses.replace(
            self.pool_settings, database_url=self.database_url or "postgresql://localhost/usher"
        ).validate()
        if not self.issuer and (is_wildcard(self.http_address) or takes_any_port(self.http_address)):
            raise SettingsError(
                f"issuer: {self.http_address} is no address that a verifier could ask; set issuer to the "
                "public URL under which the JWKS is reached"
            )
        check_database_settings(self)
        check_neon_settings(self)
        check_key_settings(self)
        check_stream_settings(self)
        self.issuer_settings.validate()
        self.rotation_settings.validate()
        self.query_settings.validate()
        self.claim_settings.validate()
        self.revocation_settings.validate()

    @property
    def issuer_url(self) -> str:
        """The issuer, derived from the public address when none is set."""
        return self.issuer or f"http://{self.http_address}"

    @property
    def issuer_settings(self) -> IssuerSettings:
        """The issuer's share."""
        return IssuerSettings(
            issuer=self.issuer_url,
            default_ttl=self.token_ttl,
            max_ttl=self.max_token_ttl,
            reuse=self.token_reuse,
        )

    @property
    def rotation_settings(self) -> RotationSettings:
        """The key ring's share."""
        return RotationSettings(
            algorithm=Algorithm(self.algorithm),
            rsa_bits=self.rsa_bits,
            period=self.rotation_period,
            lead_time=self.rotation_lead_time,
            max_token_ttl=self.max_token_ttl,
            verifiers=tuple(filter(None, self.verifiers.split(","))),
            verifier_wait=self.verifier_wait,
            unsafe_timing=self.unsafe_rotation_timing,
        )

    @property
    def query_settings(self) -> QuerySettings:
        """The queries' share."""
        return QuerySettings(
            statement_timeout=self.statement_timeout,
            default_max_rows=self.default_max_rows,
            max_rows=self.max_rows,
            max_sql_bytes=self.max_sql_bytes,
            transaction_max_statements=self.transaction_max_statements,
        )

    @property
    def revocation_settings(self) -> RevocationSettings:
        """The deny list's share."""
        return RevocationSettings(
            least=self.rotation_settings.hold,
            max_age=self.revocation_max_age,
            allow_stale=self.allow_stale_revocations,
        )

    @property
    def pool_settings(self) -> PoolSettings:
        """The pool's share."""
        return PoolSettings(
            database_url=self.database_url,
            min_size=self.pool_min_size,
            max_size=self.pool_max_size,
            acquire_timeout=self.pool_acquire_timeout,
            max_waiting=self.pool_max_waiting,
            logins=self.database_logins,
            pooling=Pooling(self.database_pooling),
        )

    @property
    def claim_settings(self) -> ClaimSettings:
        """The database backend's share."""
        return ClaimSettings(
            role=self.database_role,
            allow_privileged_login=self.allow_privileged_login,
            shared_login=self.shared_login,
            # Not used with neon-http.
            identity=Identity(self.database_backend) if self.database_backend != NEON_HTTP else Identity.AUTO,
            unsigned_claims=self.unsigned_claims,
            show_database_messages=self.show_database_messages,
            max_result_bytes=self.max_message_bytes,
        )

    def weakened(self) -> list[tuple[str, str]]:
        """The settings in force that weaken safety, each with its consequence."""
        found = [
            (name, declared.weakens)
            for name, declared in DECLARED.items()
            if declared.weakens and getattr(self, name)
        ]
        if not is_local(self.admin_http_address):
            found.append(
                ("admin_http_address", "anyone who reaches it sees metrics and the state of the sidecar")
            )
        return found


DECLARED: Final[dict[str, Declared]] = {
    field.name: field.metadata["declared"] for field in dataclasses.fields(Config)
}
"""Every setting by name."""
