from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_BOOL: _ClassVar[Kind]
    KIND_INT: _ClassVar[Kind]
    KIND_FLOAT: _ClassVar[Kind]
    KIND_TEXT: _ClassVar[Kind]
    KIND_BYTES: _ClassVar[Kind]
    KIND_NUMERIC: _ClassVar[Kind]
    KIND_DATE: _ClassVar[Kind]
    KIND_TIME: _ClassVar[Kind]
    KIND_TIMESTAMP: _ClassVar[Kind]
    KIND_TIMESTAMPTZ: _ClassVar[Kind]
    KIND_INTERVAL: _ClassVar[Kind]
    KIND_UUID: _ClassVar[Kind]
    KIND_JSON: _ClassVar[Kind]
    KIND_OTHER: _ClassVar[Kind]
    KIND_ARRAY: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
KIND_BOOL: Kind
KIND_INT: Kind
KIND_FLOAT: Kind
KIND_TEXT: Kind
KIND_BYTES: Kind
KIND_NUMERIC: Kind
KIND_DATE: Kind
KIND_TIME: Kind
KIND_TIMESTAMP: Kind
KIND_TIMESTAMPTZ: Kind
KIND_INTERVAL: Kind
KIND_UUID: Kind
KIND_JSON: Kind
KIND_OTHER: Kind
KIND_ARRAY: Kind

class Column(_message.Message):
    __slots__ = ("name", "type_name", "type_oid", "kind", "element_kind")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_OID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_KIND_FIELD_NUMBER: _ClassVar[int]
    name: str
    type_name: str
    type_oid: int
    kind: Kind
    element_kind: Kind
    def __init__(self, name: _Optional[str] = ..., type_name: _Optional[str] = ..., type_oid: _Optional[int] = ..., kind: _Optional[_Union[Kind, str]] = ..., element_kind: _Optional[_Union[Kind, str]] = ...) -> None: ...

class ColumnData(_message.Message):
    __slots__ = ("nulls", "bools", "ints", "floats", "texts", "blobs", "dates", "times", "timestamps", "intervals", "arrays")
    NULLS_FIELD_NUMBER: _ClassVar[int]
    BOOLS_FIELD_NUMBER: _ClassVar[int]
    INTS_FIELD_NUMBER: _ClassVar[int]
    FLOATS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    DATES_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    INTERVALS_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    nulls: bytes
    bools: _containers.RepeatedScalarFieldContainer[bool]
    ints: _containers.RepeatedScalarFieldContainer[int]
    floats: _containers.RepeatedScalarFieldContainer[float]
    texts: _containers.RepeatedScalarFieldContainer[str]
    blobs: _containers.RepeatedScalarFieldContainer[bytes]
    dates: _containers.RepeatedScalarFieldContainer[int]
    times: _containers.RepeatedScalarFieldContainer[int]
    timestamps: TimestampData
    intervals: IntervalData
    arrays: ArrayData
    def __init__(self, nulls: _Optional[bytes] = ..., bools: _Optional[_Iterable[bool]] = ..., ints: _Optional[_Iterable[int]] = ..., floats: _Optional[_Iterable[float]] = ..., texts: _Optional[_Iterable[str]] = ..., blobs: _Optional[_Iterable[bytes]] = ..., dates: _Optional[_Iterable[int]] = ..., times: _Optional[_Iterable[int]] = ..., timestamps: _Optional[_Union[TimestampData, _Mapping]] = ..., intervals: _Optional[_Union[IntervalData, _Mapping]] = ..., arrays: _Optional[_Union[ArrayData, _Mapping]] = ...) -> None: ...

class TimestampData(_message.Message):
    __slots__ = ("seconds", "micros")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    MICROS_FIELD_NUMBER: _ClassVar[int]
    seconds: _containers.RepeatedScalarFieldContainer[int]
    micros: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, seconds: _Optional[_Iterable[int]] = ..., micros: _Optional[_Iterable[int]] = ...) -> None: ...

class IntervalData(_message.Message):
    __slots__ = ("months", "days", "micros")
    MONTHS_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    MICROS_FIELD_NUMBER: _ClassVar[int]
    months: _containers.RepeatedScalarFieldContainer[int]
    days: _containers.RepeatedScalarFieldContainer[int]
    micros: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, months: _Optional[_Iterable[int]] = ..., days: _Optional[_Iterable[int]] = ..., micros: _Optional[_Iterable[int]] = ...) -> None: ...

class ArrayData(_message.Message):
    __slots__ = ("lengths", "elements")
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    lengths: _containers.RepeatedScalarFieldContainer[int]
    elements: ColumnData
    def __init__(self, lengths: _Optional[_Iterable[int]] = ..., elements: _Optional[_Union[ColumnData, _Mapping]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("bool_value", "int_value", "float_value", "text_value", "bytes_value", "numeric_value", "date_value", "time_value", "timestamp_value", "interval_value", "uuid_value", "json_value", "array_value")
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    FLOAT_VALUE_FIELD_NUMBER: _ClassVar[int]
    TEXT_VALUE_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
    NUMERIC_VALUE_FIELD_NUMBER: _ClassVar[int]
    DATE_VALUE_FIELD_NUMBER: _ClassVar[int]
    TIME_VALUE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_VALUE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_VALUE_FIELD_NUMBER: _ClassVar[int]
    UUID_VALUE_FIELD_NUMBER: _ClassVar[int]
    JSON_VALUE_FIELD_NUMBER: _ClassVar[int]
    ARRAY_VALUE_FIELD_NUMBER: _ClassVar[int]
    bool_value: bool
    int_value: int
    float_value: float
    text_value: str
    bytes_value: bytes
    numeric_value: str
    date_value: int
    time_value: int
    timestamp_value: Timestamp
    interval_value: Interval
    uuid_value: bytes
    json_value: str
    array_value: ArrayValue
    def __init__(self, bool_value: _Optional[bool] = ..., int_value: _Optional[int] = ..., float_value: _Optional[float] = ..., text_value: _Optional[str] = ..., bytes_value: _Optional[bytes] = ..., numeric_value: _Optional[str] = ..., date_value: _Optional[int] = ..., time_value: _Optional[int] = ..., timestamp_value: _Optional[_Union[Timestamp, _Mapping]] = ..., interval_value: _Optional[_Union[Interval, _Mapping]] = ..., uuid_value: _Optional[bytes] = ..., json_value: _Optional[str] = ..., array_value: _Optional[_Union[ArrayValue, _Mapping]] = ...) -> None: ...

class Timestamp(_message.Message):
    __slots__ = ("seconds", "micros")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    MICROS_FIELD_NUMBER: _ClassVar[int]
    seconds: int
    micros: int
    def __init__(self, seconds: _Optional[int] = ..., micros: _Optional[int] = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("months", "days", "micros")
    MONTHS_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    MICROS_FIELD_NUMBER: _ClassVar[int]
    months: int
    days: int
    micros: int
    def __init__(self, months: _Optional[int] = ..., days: _Optional[int] = ..., micros: _Optional[int] = ...) -> None: ...

class ArrayValue(_message.Message):
    __slots__ = ("elements",)
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    elements: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, elements: _Optional[_Iterable[_Union[Value, _Mapping]]] = ...) -> None: ...
