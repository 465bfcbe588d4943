//! Values, exact both ways: `From` for what goes as a parameter, `TryFrom` for what comes in a row.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use uuid::Uuid;

use crate::Error;
use crate::v1::{ArrayValue, Interval, Timestamp, Value as Message, value::Kind as Sent};

/// One value: a parameter, or a cell of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// bool.
    Bool(bool),
    /// int2, int4, int8.
    Int(i64),
    /// float4, float8.
    Float(f64),
    /// text and its relatives. As a parameter it fits every type: Postgres reads its text form.
    Text(String),
    /// bytea.
    Bytes(Vec<u8>),
    /// numeric.
    Numeric(Numeric),
    /// date.
    Date(Date),
    /// time.
    Time(Time),
    /// timestamp.
    Timestamp(Timestamp),
    /// timestamptz, in UTC.
    TimestampTz(Timestamp),
    /// interval.
    Interval(Interval),
    /// uuid.
    Uuid(Uuid),
    /// json, jsonb.
    Json(Json),
    /// A one-dimensional array.
    Array(Vec<Value>),
    /// Every other type, as text.
    Other(String),
}

/// A numeric in decimal text, `NaN` and `Infinity` included: it has up to 131072 digits before the point and
/// 16383 after it, more than decimal types hold. Their `parse` and `to_string` convert.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Numeric(pub String);

/// JSON as the text that Postgres prints, with all digits and in its order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Json(pub String);

/// Days since 1970-01-01; `i32::MAX` is infinity and `i32::MIN` -infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i32);

/// Microseconds since midnight; 24:00:00 exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Timestamp {
    /// After all moments.
    pub const INFINITY: Self = Self { seconds: i64::MAX, micros: 0 };
    /// Before all moments.
    pub const NEG_INFINITY: Self = Self { seconds: i64::MIN, micros: 0 };
}

impl From<Value> for Message {
    fn from(value: Value) -> Self {
        let kind = match value {
            Value::Null => return Self::default(),
            Value::Bool(value) => Sent::BoolValue(value),
            Value::Int(value) => Sent::IntValue(value),
            Value::Float(value) => Sent::FloatValue(value),
            Value::Text(value) | Value::Other(value) => Sent::TextValue(value),
            Value::Bytes(value) => Sent::BytesValue(value),
            Value::Numeric(value) => Sent::NumericValue(value.0),
            Value::Date(value) => Sent::DateValue(value.0),
            Value::Time(value) => Sent::TimeValue(value.0),
            Value::Timestamp(value) | Value::TimestampTz(value) => Sent::TimestampValue(value),
            Value::Interval(value) => Sent::IntervalValue(value),
            Value::Uuid(value) => Sent::UuidValue(value.into_bytes().into()),
            Value::Json(value) => Sent::JsonValue(value.0),
            Value::Array(items) => {
                Sent::ArrayValue(ArrayValue { elements: items.into_iter().map(Self::from).collect() })
            }
        };
        Self { kind: Some(kind) }
    }
}

macro_rules! parameters {
    ($($type:ty: $value:ident => $made:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        }
    )*};
}

parameters! {
    bool: value => Self::Bool(value);
    i8: value => Self::Int(value.into());
    i16: value => Self::Int(value.into());
    i32: value => Self::Int(value.into());
    i64: value => Self::Int(value);
    isize: value => Self::Int(value as i64);
    u16: value => Self::Int(value.into());
    u32: value => Self::Int(value.into());
    usize: value => Self::from(value as u64);
    u64: value => i64::try_from(value).map_or_else(|_| Self::Numeric(Numeric(value.to_string())), Self::Int);
    f32: value => Self::Float(value.into());
    f64: value => Self::Float(value);
    &str: value => Self::Text(value.into());
    String: value => Self::Text(value);
    &String: value => Self::Text(value.clone());
    &[u8]: value => Self::Bytes(value.into());
    Vec<u8>: value => Self::Bytes(value);
    Numeric: value => Self::Numeric(value);
    Date: value => Self::Date(value);
    Time: value => Self::Time(value);
    Timestamp: value => Self::Timestamp(value);
    Interval: value => Self::Interval(value);
    Uuid: value => Self::Uuid(value);
    Json: value => Self::Json(value);
    serde_json::Value: value => Self::Json(Json(value.to_string()));
    NaiveDate: value => Self::Date(Date(value.to_epoch_days()));
    NaiveTime: value => Self::Time(Time(value.signed_duration_since(NaiveTime::MIN).num_microseconds().unwrap_or_default()));
    NaiveDateTime: value => Self::Timestamp(timestamp(value.and_utc()));
}

impl<Tz: TimeZone> From<DateTime<Tz>> for Value {
    fn from(value: DateTime<Tz>) -> Self {
        Self::TimestampTz(timestamp(value.to_utc()))
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::Array(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value> + Clone> From<&[T]> for Value {
    fn from(values: &[T]) -> Self {
        Self::from(values.to_vec())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(values: [T; N]) -> Self {
        Self::from(Vec::from(values))
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(octets: &[u8; N]) -> Self {
        Self::Bytes(octets.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

fn timestamp(moment: DateTime<Utc>) -> Timestamp {
    let micros = moment.timestamp_micros();
    Timestamp { seconds: micros.div_euclid(1_000_000), micros: micros.rem_euclid(1_000_000) as u32 }
}

/// What a cell can be read as: [`Row::get`](crate::Row::get). `Option` is for columns with NULL, `Vec` for arrays.
pub trait FromValue: Sized {
    /// Fails with `CLIENT_INVALID` when the value is of another type, or beyond what this one holds.
    fn from_value(value: Value) -> Result<Self, Error>;
}

macro_rules! readable {
    ($($type:ty: $pattern:pat => $made:expr;)*) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Result<Self, Error> {
                let made: Option<Self> = match value {
                    $pattern => $made,
                    _ => None,
                };
                made.ok_or_else(|| Error::invalid(concat!("the value is no ", stringify!($type))))
            }
        }

        impl TryFrom<Value> for $type {
            type Error = Error;

            fn try_from(value: Value) -> Result<Self, Error> {
                Self::from_value(value)
            }
        }
    )*};
}

readable! {
    bool: Value::Bool(value) => Some(value);
    i16: Value::Int(value) => value.try_into().ok();
    i32: Value::Int(value) => value.try_into().ok();
    i64: Value::Int(value) => Some(value);
    u32: Value::Int(value) => value.try_into().ok();
    u64: Value::Int(value) => value.try_into().ok();
    f32: Value::Float(value) => Some(value as f32).filter(|&near| f64::from(near) == value || value.is_nan());
    f64: Value::Float(value) => Some(value);
    String: Value::Text(value) | Value::Other(value) => Some(value);
    Vec<u8>: Value::Bytes(value) => Some(value);
    Numeric: Value::Numeric(value) => Some(value);
    Date: Value::Date(value) => Some(value);
    Time: Value::Time(value) => Some(value);
    Timestamp: Value::Timestamp(value) | Value::TimestampTz(value) => Some(value);
    Interval: Value::Interval(value) => Some(value);
    Uuid: Value::Uuid(value) => Some(value);
    Json: Value::Json(value) => Some(value);
    serde_json::Value: Value::Json(value) => serde_json::from_str(&value.0).ok();
    NaiveDate: Value::Date(value) => NaiveDate::from_epoch_days(value.0);
    NaiveTime: Value::Time(Time(value @ 0..86_400_000_000)) => Some(NaiveTime::MIN + TimeDelta::microseconds(value));
    NaiveDateTime: Value::Timestamp(value) => moment(value).map(|moment| moment.naive_utc());
    DateTime<Utc>: Value::TimestampTz(value) => moment(value);
}

fn moment(value: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(value.seconds, value.micros.checked_mul(1000)?)
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, Error> {
        Ok(value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, Error> {
        if value == Value::Null { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::Array(items) => items.into_iter().map(T::from_value).collect(),
            _ => Err(Error::invalid("the value is no array")),
        }
    }
}
