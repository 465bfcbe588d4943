//! A statement of a transaction.

use std::fmt;

use crate::Value;
use crate::v1::ScopedStatement;

/// A statement of a transaction.
#[derive(Clone)]
pub struct Statement(pub(crate) ScopedStatement);

impl Statement {
    /// One SQL statement.
    pub fn sql<V: Into<Value>>(sql: impl Into<String>, parameters: impl IntoIterator<Item = V>) -> Self {
        Self::with(ScopedStatement { sql: sql.into(), ..Default::default() }, parameters)
    }

    /// A statement that the server holds.
    pub fn named<V: Into<Value>>(
        statement: impl Into<String>,
        parameters: impl IntoIterator<Item = V>,
    ) -> Self {
        Self::with(ScopedStatement { statement: statement.into(), ..Default::default() }, parameters)
    }

    /// Most rows to return, instead of the scope's; the result says whether there were more.
    pub fn max_rows(mut self, rows: u32) -> Self {
        self.0.max_rows = rows;
        self
    }

    fn with<V: Into<Value>>(mut made: ScopedStatement, parameters: impl IntoIterator<Item = V>) -> Self {
        made.parameters = parameters.into_iter().map(|value| value.into().into()).collect();
        Self(made)
    }
}

/// Shows neither the SQL nor parameters.
impl fmt::Debug for Statement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Statement").finish_non_exhaustive()
    }
}
