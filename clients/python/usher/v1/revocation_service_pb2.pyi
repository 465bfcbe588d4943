import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Revoked(_message.Message):
    __slots__ = ("jti", "sub", "kid")
    JTI_FIELD_NUMBER: _ClassVar[int]
    SUB_FIELD_NUMBER: _ClassVar[int]
    KID_FIELD_NUMBER: _ClassVar[int]
    jti: str
    sub: str
    kid: str
    def __init__(self, jti: _Optional[str] = ..., sub: _Optional[str] = ..., kid: _Optional[str] = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("revoked", "issued_until_time", "revoke_time", "expire_time")
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    ISSUED_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    revoked: Revoked
    issued_until_time: _timestamp_pb2.Timestamp
    revoke_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, revoked: _Optional[_Union[Revoked, _Mapping]] = ..., issued_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RevokeTokensRequest(_message.Message):
    __slots__ = ("revoked", "existing_tokens_only", "duration")
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    EXISTING_TOKENS_ONLY_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    revoked: Revoked
    existing_tokens_only: bool
    duration: _duration_pb2.Duration
    def __init__(self, revoked: _Optional[_Union[Revoked, _Mapping]] = ..., existing_tokens_only: _Optional[bool] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RevokeTokensResponse(_message.Message):
    __slots__ = ("revocation", "shared")
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    revocation: Revocation
    shared: bool
    def __init__(self, revocation: _Optional[_Union[Revocation, _Mapping]] = ..., shared: _Optional[bool] = ...) -> None: ...

class ListRevocationsRequest(_message.Message):
    __slots__ = ("max_entries",)
    MAX_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    max_entries: int
    def __init__(self, max_entries: _Optional[int] = ...) -> None: ...

class ListRevocationsResponse(_message.Message):
    __slots__ = ("revocations", "total", "shared")
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    total: int
    shared: bool
    def __init__(self, revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ..., total: _Optional[int] = ..., shared: _Optional[bool] = ...) -> None: ...

class LiftRevocationRequest(_message.Message):
    __slots__ = ("revoked",)
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    revoked: Revoked
    def __init__(self, revoked: _Optional[_Union[Revoked, _Mapping]] = ...) -> None: ...

class LiftRevocationResponse(_message.Message):
    __slots__ = ("lifted",)
    LIFTED_FIELD_NUMBER: _ClassVar[int]
    lifted: bool
    def __init__(self, lifted: _Optional[bool] = ...) -> None: ...
