//! The rows of a statement.

use std::ops::Index;
use std::sync::Arc;
use std::vec;

use uuid::Uuid;

use crate::v1::{Column, ColumnData, Interval, Kind, RunScopedQueryResponse, Timestamp};
use crate::{Date, Error, FromValue, Json, Numeric, Time, Value};

/// What a statement gave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueryResult {
    /// Names, types and kinds.
    pub columns: Arc<[Column]>,
    /// The rows, in order.
    pub rows: Vec<Row>,
    /// Whether there were more rows than the limit.
    pub truncated: bool,
    /// Postgres' command tag, such as `SELECT 3`.
    pub command_tag: String,
    /// The rows that the command tag counts.
    pub affected_rows: i64,
}

/// One row: by position, or by column name; of columns with the same name the first.
#[derive(Debug, Clone)]
pub struct Row {
    columns: Arc<[Column]>,
    values: Vec<Value>,
}

/// A position (`usize`) or a name (`&str`).
pub trait ColumnIndex {
    /// The position among these columns.
    fn position(&self, columns: &[Column]) -> Option<usize>;
}

impl ColumnIndex for usize {
    fn position(&self, columns: &[Column]) -> Option<usize> {
        (*self < columns.len()).then_some(*self)
    }
}

impl ColumnIndex for &str {
    fn position(&self, columns: &[Column]) -> Option<usize> {
        columns.iter().position(|column| column.name == *self)
    }
}

impl Row {
    /// The value of a column as a Rust type. Fails with `CLIENT_INVALID` when there is no such column, or the
    /// type does not hold the value.
    pub fn get<T: FromValue>(&self, column: impl ColumnIndex) -> Result<T, Error> {
        let at = column.position(&self.columns).ok_or_else(|| Error::invalid("there is no such column"))?;
        T::from_value(self.values[at].clone()).map_err(|mut error| {
            error.message = format!("column {at}: {}", error.message);
            error
        })
    }

    /// All values, in the order of the columns.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

/// Panics when there is no such column.
impl<I: ColumnIndex> Index<I> for Row {
    type Output = Value;

    fn index(&self, column: I) -> &Value {
        &self.values[column.position(&self.columns).expect("there is a column of this name or position")]
    }
}

impl IntoIterator for Row {
    type Item = Value;
    type IntoIter = vec::IntoIter<Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.values.into_iter()
    }
}

impl IntoIterator for QueryResult {
    type Item = Row;
    type IntoIter = vec::IntoIter<Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl<'a> IntoIterator for &'a QueryResult {
    type Item = &'a Row;
    type IntoIter = std::slice::Iter<'a, Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

impl TryFrom<RunScopedQueryResponse> for QueryResult {
    type Error = Error;

    fn try_from(response: RunScopedQueryResponse) -> Result<Self, Error> {
        let columns: Arc<[Column]> = response.columns.into();
        let rows = rows(&columns, response.data, response.row_count as usize)?;
        let (truncated, command_tag) = (response.truncated, response.command_tag);
        Ok(Self { columns, rows, truncated, command_tag, affected_rows: response.affected_rows })
    }
}

/// The rows that travelled column by column.
pub(crate) fn rows(columns: &Arc<[Column]>, data: Vec<ColumnData>, count: usize) -> Result<Vec<Row>, Error> {
    if columns.len() != data.len() {
        return Err(Error::malformed());
    }
    let mut lists = Vec::with_capacity(columns.len());
    for (column, values) in columns.iter().zip(data) {
        lists.push(cells(column.kind(), column.element_kind(), values, count)?.into_iter());
    }
    let mut row = || lists.iter_mut().map(|cells| cells.next().unwrap_or(Value::Null)).collect();
    Ok((0..count).map(|_| Row { columns: columns.clone(), values: row() }).collect())
}

/// The values of a column, moved out of the lists in which they travel (values.proto).
fn cells(kind: Kind, element_kind: Kind, data: ColumnData, count: usize) -> Result<Vec<Value>, Error> {
    let mut cells: Vec<Value> = match kind {
        Kind::Bool => data.bools.into_iter().map(Value::Bool).collect(),
        Kind::Int => data.ints.into_iter().map(Value::Int).collect(),
        Kind::Float => data.floats.into_iter().map(Value::Float).collect(),
        Kind::Text => data.texts.into_iter().map(Value::Text).collect(),
        Kind::Bytes => data.blobs.into_iter().map(Value::Bytes).collect(),
        Kind::Numeric => data.texts.into_iter().map(|text| Value::Numeric(Numeric(text))).collect(),
        Kind::Json => data.texts.into_iter().map(|text| Value::Json(Json(text))).collect(),
        Kind::Date => data.dates.into_iter().map(|days| Value::Date(Date(days))).collect(),
        Kind::Time => data.times.into_iter().map(|micros| Value::Time(Time(micros))).collect(),
        Kind::Timestamp | Kind::Timestamptz => {
            let made = if kind == Kind::Timestamp { Value::Timestamp } else { Value::TimestampTz };
            let parts = data.timestamps.unwrap_or_default();
            let pairs = parts.seconds.into_iter().zip(parts.micros);
            pairs.map(|(seconds, micros)| made(Timestamp { seconds, micros })).collect()
        }
        Kind::Interval => {
            let parts = data.intervals.unwrap_or_default();
            let triples = parts.months.into_iter().zip(parts.days).zip(parts.micros);
            triples
                .map(|((months, days), micros)| Value::Interval(Interval { months, days, micros }))
                .collect()
        }
        // The filler of a NULL is not 16 bytes long.
        Kind::Uuid => {
            let uuid = |octets: Vec<u8>| Value::Uuid(Uuid::from_slice(&octets).unwrap_or_default());
            data.blobs.into_iter().map(uuid).collect()
        }
        Kind::Array => {
            let arrays = data.arrays.map(|arrays| *arrays).unwrap_or_default();
            let total = arrays.lengths.iter().map(|&length| length as usize).sum();
            let elements = arrays.elements.map(|elements| *elements).unwrap_or_default();
            let mut elements = cells(element_kind, Kind::Unspecified, elements, total)?.into_iter();
            let array = |length| Value::Array(elements.by_ref().take(length as usize).collect());
            arrays.lengths.into_iter().map(array).collect()
        }
        _ => data.texts.into_iter().map(Value::Other).collect(),
    };
    if cells.len() != count {
        return Err(Error::malformed());
    }
    for (at, cell) in cells.iter_mut().enumerate() {
        if data.nulls.get(at / 8).is_some_and(|bits| bits >> (at % 8) & 1 == 1) {
            *cell = Value::Null;
        }
    }
    Ok(cells)
}
