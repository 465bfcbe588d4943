import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from usher.v1 import values_pb2 as _values_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IsolationLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ISOLATION_LEVEL_UNSPECIFIED: _ClassVar[IsolationLevel]
    ISOLATION_LEVEL_READ_COMMITTED: _ClassVar[IsolationLevel]
    ISOLATION_LEVEL_REPEATABLE_READ: _ClassVar[IsolationLevel]
    ISOLATION_LEVEL_SERIALIZABLE: _ClassVar[IsolationLevel]
ISOLATION_LEVEL_UNSPECIFIED: IsolationLevel
ISOLATION_LEVEL_READ_COMMITTED: IsolationLevel
ISOLATION_LEVEL_REPEATABLE_READ: IsolationLevel
ISOLATION_LEVEL_SERIALIZABLE: IsolationLevel

class Scope(_message.Message):
    __slots__ = ("principal", "token")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    principal: Principal
    token: str
    def __init__(self, principal: _Optional[_Union[Principal, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class Principal(_message.Message):
    __slots__ = ("subject", "claims")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    subject: str
    claims: _struct_pb2.Struct
    def __init__(self, subject: _Optional[str] = ..., claims: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class RunScopedQueryRequest(_message.Message):
    __slots__ = ("scope", "sql", "parameters", "options", "statement")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    sql: str
    parameters: _containers.RepeatedCompositeFieldContainer[_values_pb2.Value]
    options: QueryOptions
    statement: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., sql: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[_values_pb2.Value, _Mapping]]] = ..., options: _Optional[_Union[QueryOptions, _Mapping]] = ..., statement: _Optional[str] = ...) -> None: ...

class QueryOptions(_message.Message):
    __slots__ = ("read_only", "statement_timeout", "max_rows")
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    read_only: bool
    statement_timeout: _duration_pb2.Duration
    max_rows: int
    def __init__(self, read_only: _Optional[bool] = ..., statement_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_rows: _Optional[int] = ...) -> None: ...

class RunScopedQueryResponse(_message.Message):
    __slots__ = ("columns", "data", "row_count", "truncated", "command_tag", "affected_rows")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    COMMAND_TAG_FIELD_NUMBER: _ClassVar[int]
    AFFECTED_ROWS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    data: _containers.RepeatedCompositeFieldContainer[_values_pb2.ColumnData]
    row_count: int
    truncated: bool
    command_tag: str
    affected_rows: int
    def __init__(self, columns: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., data: _Optional[_Iterable[_Union[_values_pb2.ColumnData, _Mapping]]] = ..., row_count: _Optional[int] = ..., truncated: _Optional[bool] = ..., command_tag: _Optional[str] = ..., affected_rows: _Optional[int] = ...) -> None: ...

class StreamScopedQueryRequest(_message.Message):
    __slots__ = ("scope", "sql", "parameters", "options", "statement")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    sql: str
    parameters: _containers.RepeatedCompositeFieldContainer[_values_pb2.Value]
    options: StreamOptions
    statement: str
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., sql: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[_values_pb2.Value, _Mapping]]] = ..., options: _Optional[_Union[StreamOptions, _Mapping]] = ..., statement: _Optional[str] = ...) -> None: ...

class StreamOptions(_message.Message):
    __slots__ = ("statement_timeout", "max_rows")
    STATEMENT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    statement_timeout: _duration_pb2.Duration
    max_rows: int
    def __init__(self, statement_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_rows: _Optional[int] = ...) -> None: ...

class StreamScopedQueryResponse(_message.Message):
    __slots__ = ("columns", "data", "row_count", "summary")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[_values_pb2.Column]
    data: _containers.RepeatedCompositeFieldContainer[_values_pb2.ColumnData]
    row_count: int
    summary: StreamSummary
    def __init__(self, columns: _Optional[_Iterable[_Union[_values_pb2.Column, _Mapping]]] = ..., data: _Optional[_Iterable[_Union[_values_pb2.ColumnData, _Mapping]]] = ..., row_count: _Optional[int] = ..., summary: _Optional[_Union[StreamSummary, _Mapping]] = ...) -> None: ...

class StreamSummary(_message.Message):
    __slots__ = ("row_count", "truncated", "command_tag")
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    COMMAND_TAG_FIELD_NUMBER: _ClassVar[int]
    row_count: int
    truncated: bool
    command_tag: str
    def __init__(self, row_count: _Optional[int] = ..., truncated: _Optional[bool] = ..., command_tag: _Optional[str] = ...) -> None: ...

class RunScopedTransactionRequest(_message.Message):
    __slots__ = ("scope", "statements", "options")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    statements: _containers.RepeatedCompositeFieldContainer[ScopedStatement]
    options: TransactionOptions
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ..., statements: _Optional[_Iterable[_Union[ScopedStatement, _Mapping]]] = ..., options: _Optional[_Union[TransactionOptions, _Mapping]] = ...) -> None: ...

class ScopedStatement(_message.Message):
    __slots__ = ("sql", "parameters", "statement", "max_rows")
    SQL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    sql: str
    parameters: _containers.RepeatedCompositeFieldContainer[_values_pb2.Value]
    statement: str
    max_rows: int
    def __init__(self, sql: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[_values_pb2.Value, _Mapping]]] = ..., statement: _Optional[str] = ..., max_rows: _Optional[int] = ...) -> None: ...

class TransactionOptions(_message.Message):
    __slots__ = ("isolation_level", "read_only", "statement_timeout")
    ISOLATION_LEVEL_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    isolation_level: IsolationLevel
    read_only: bool
    statement_timeout: _duration_pb2.Duration
    def __init__(self, isolation_level: _Optional[_Union[IsolationLevel, str]] = ..., read_only: _Optional[bool] = ..., statement_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RunScopedTransactionResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RunScopedQueryResponse]
    def __init__(self, results: _Optional[_Iterable[_Union[RunScopedQueryResponse, _Mapping]]] = ...) -> None: ...

class WhoAmIRequest(_message.Message):
    __slots__ = ("scope",)
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    scope: Scope
    def __init__(self, scope: _Optional[_Union[Scope, _Mapping]] = ...) -> None: ...

class WhoAmIResponse(_message.Message):
    __slots__ = ("role", "login_role", "user_id", "session", "backend_kind", "claims_age", "row_security_applies", "database", "server_version")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    LOGIN_ROLE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_KIND_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_AGE_FIELD_NUMBER: _ClassVar[int]
    ROW_SECURITY_APPLIES_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    role: str
    login_role: str
    user_id: str
    session: str
    backend_kind: str
    claims_age: _duration_pb2.Duration
    row_security_applies: bool
    database: str
    server_version: int
    def __init__(self, role: _Optional[str] = ..., login_role: _Optional[str] = ..., user_id: _Optional[str] = ..., session: _Optional[str] = ..., backend_kind: _Optional[str] = ..., claims_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., row_security_applies: _Optional[bool] = ..., database: _Optional[str] = ..., server_version: _Optional[int] = ...) -> None: ...
