import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_STATE_UNSPECIFIED: _ClassVar[KeyState]
    KEY_STATE_PREPARED: _ClassVar[KeyState]
    KEY_STATE_ACTIVE: _ClassVar[KeyState]
    KEY_STATE_RETIRED: _ClassVar[KeyState]

class KeyStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_STEP_UNSPECIFIED: _ClassVar[KeyStep]
    KEY_STEP_ACTIVATE: _ClassVar[KeyStep]
    KEY_STEP_RETIRE: _ClassVar[KeyStep]
    KEY_STEP_DROP: _ClassVar[KeyStep]
    KEY_STEP_REVOKE: _ClassVar[KeyStep]
KEY_STATE_UNSPECIFIED: KeyState
KEY_STATE_PREPARED: KeyState
KEY_STATE_ACTIVE: KeyState
KEY_STATE_RETIRED: KeyState
KEY_STEP_UNSPECIFIED: KeyStep
KEY_STEP_ACTIVATE: KeyStep
KEY_STEP_RETIRE: KeyStep
KEY_STEP_DROP: KeyStep
KEY_STEP_REVOKE: KeyStep

class Key(_message.Message):
    __slots__ = ("kid", "alg", "state", "publish_time", "activate_time", "retire_time", "next_step_time", "next_step", "served_time", "waits_for_replicas", "waits_for_verifiers", "goes_on_time")
    KID_FIELD_NUMBER: _ClassVar[int]
    ALG_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTIVATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RETIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_FIELD_NUMBER: _ClassVar[int]
    SERVED_TIME_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_VERIFIERS_FIELD_NUMBER: _ClassVar[int]
    GOES_ON_TIME_FIELD_NUMBER: _ClassVar[int]
    kid: str
    alg: str
    state: KeyState
    publish_time: _timestamp_pb2.Timestamp
    activate_time: _timestamp_pb2.Timestamp
    retire_time: _timestamp_pb2.Timestamp
    next_step_time: _timestamp_pb2.Timestamp
    next_step: KeyStep
    served_time: _timestamp_pb2.Timestamp
    waits_for_replicas: _containers.RepeatedScalarFieldContainer[str]
    waits_for_verifiers: _containers.RepeatedScalarFieldContainer[str]
    goes_on_time: _timestamp_pb2.Timestamp
    def __init__(self, kid: _Optional[str] = ..., alg: _Optional[str] = ..., state: _Optional[_Union[KeyState, str]] = ..., publish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., activate_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_step_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_step: _Optional[_Union[KeyStep, str]] = ..., served_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., waits_for_replicas: _Optional[_Iterable[str]] = ..., waits_for_verifiers: _Optional[_Iterable[str]] = ..., goes_on_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "store", "replicas", "verifiers", "read_time")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    VERIFIERS_FIELD_NUMBER: _ClassVar[int]
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    store: KeyStoreState
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    verifiers: _containers.RepeatedCompositeFieldContainer[Verifier]
    read_time: _timestamp_pb2.Timestamp
    def __init__(self, keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., store: _Optional[_Union[KeyStoreState, _Mapping]] = ..., replicas: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ..., verifiers: _Optional[_Iterable[_Union[Verifier, _Mapping]]] = ..., read_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class KeyStoreState(_message.Message):
    __slots__ = ("kind", "version", "reach_time")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REACH_TIME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    version: int
    reach_time: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[str] = ..., version: _Optional[int] = ..., reach_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("id", "version", "seen_time", "self", "clock_skew_seconds")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    SELF_FIELD_NUMBER: _ClassVar[int]
    CLOCK_SKEW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: int
    seen_time: _timestamp_pb2.Timestamp
    self: bool
    clock_skew_seconds: float
    def __init__(self_, id: _Optional[str] = ..., version: _Optional[int] = ..., seen_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., self: _Optional[bool] = ..., clock_skew_seconds: _Optional[float] = ...) -> None: ...

class Verifier(_message.Message):
    __slots__ = ("name", "fetch_time", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FETCH_TIME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    fetch_time: _timestamp_pb2.Timestamp
    version: int
    def __init__(self, name: _Optional[str] = ..., fetch_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class RotateKeysRequest(_message.Message):
    __slots__ = ("force",)
    FORCE_FIELD_NUMBER: _ClassVar[int]
    force: bool
    def __init__(self, force: _Optional[bool] = ...) -> None: ...

class RotateKeysResponse(_message.Message):
    __slots__ = ("active", "retired")
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    active: Key
    retired: Key
    def __init__(self, active: _Optional[_Union[Key, _Mapping]] = ..., retired: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class RevokeKeyRequest(_message.Message):
    __slots__ = ("kid", "delay")
    KID_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    kid: str
    delay: _duration_pb2.Duration
    def __init__(self, kid: _Optional[str] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RevokeKeyResponse(_message.Message):
    __slots__ = ("active", "verifiers_may_accept_until_time", "leave_time", "unconfirmed_replicas")
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    VERIFIERS_MAY_ACCEPT_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    LEAVE_TIME_FIELD_NUMBER: _ClassVar[int]
    UNCONFIRMED_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    active: Key
    verifiers_may_accept_until_time: _timestamp_pb2.Timestamp
    leave_time: _timestamp_pb2.Timestamp
    unconfirmed_replicas: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, active: _Optional[_Union[Key, _Mapping]] = ..., verifiers_may_accept_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., leave_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., unconfirmed_replicas: _Optional[_Iterable[str]] = ...) -> None: ...
