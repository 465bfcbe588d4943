//! Whose rows a statement sees.

use std::fmt;
use std::time::Duration;

use serde_json::Value as Claims;
use tonic::Response;
use tonic::transport::Channel;

use crate::client::{Client, duration};
use crate::token::claims_struct;
use crate::v1::query_service_client::QueryServiceClient;
use crate::v1::{
    self, IsolationLevel, Principal, QueryOptions, RunScopedQueryRequest, RunScopedTransactionRequest,
    ScopedStatement, StreamOptions, StreamScopedQueryRequest, TransactionOptions, WhoAmIRequest,
    WhoAmIResponse, scope::Scope as Of,
};
use crate::{Error, QueryResult, RowStream, Statement, Value};

const MAX_MESSAGE: usize = 512 << 20;
const STREAM_TIMEOUT: Duration = Duration::from_secs(600);

/// An end user whose rows a statement sees, and how it is run. Made by [`Client::as_user`] and
/// [`Client::with_token`].
#[derive(Clone)]
pub struct Scope {
    client: Client,
    of: Result<Of, Error>,
    options: QueryOptions,
    isolation: IsolationLevel,
    stream_timeout: Duration,
}

impl Client {
    /// The scope of an end user. Claims that cannot be sent show at the first query.
    pub fn as_user(&self, sub: impl Into<String>, claims: Claims) -> Scope {
        let subject = sub.into();
        let of = claims_struct(claims).map(|claims| Of::Principal(Principal { subject, claims }));
        Scope::new(self, of)
    }

    /// The scope of a token.
    pub fn with_token(&self, token: impl Into<String>) -> Scope {
        Scope::new(self, Ok(Of::Token(token.into())))
    }
}

impl Scope {
    fn new(client: &Client, of: Result<Of, Error>) -> Self {
        let (options, isolation) = (QueryOptions::default(), IsolationLevel::Unspecified);
        Self { client: client.clone(), of, options, isolation, stream_timeout: STREAM_TIMEOUT }
    }

    /// Runs statements in a READ ONLY transaction, and lets the client repeat them.
    pub fn read_only(mut self) -> Self {
        self.options.read_only = true;
        self
    }

    /// Most rows to return; the result says whether there were more.
    pub fn max_rows(mut self, rows: u32) -> Self {
        self.options.max_rows = rows;
        self
    }

    /// How much a transaction sees of what others commit meanwhile; READ COMMITTED unless given.
    pub fn isolation(mut self, level: IsolationLevel) -> Self {
        self.isolation = level;
        self
    }

    /// Longest run time in Postgres; of a transaction for each statement, of a stream for each portion of rows.
    pub fn statement_timeout(mut self, limit: Duration) -> Self {
        self.options.statement_timeout = Some(duration(limit));
        self
    }

    /// Each call's deadline, instead of the client's, and a stream's, instead of 10 minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.stream_timeout = timeout;
        self.client = self.client.with_timeout(timeout);
        self
    }

    /// Runs one statement.
    pub async fn query<V: Into<Value>>(
        &self,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = V>,
    ) -> Result<QueryResult, Error> {
        self.send(Statement::sql(sql, parameters)).await
    }

    /// Runs a named statement.
    pub async fn run<V: Into<Value>>(
        &self,
        statement: impl Into<String>,
        parameters: impl IntoIterator<Item = V>,
    ) -> Result<QueryResult, Error> {
        self.send(Statement::named(statement, parameters)).await
    }

    /// The rows of a reading statement, any number of them, as fast as they are taken. It waits for the columns.
    pub async fn stream<V: Into<Value>>(
        &self,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = V>,
    ) -> Result<RowStream, Error> {
        self.begin(Statement::sql(sql, parameters)).await
    }

    /// The rows of a named statement that reads, as of [`Scope::stream`].
    pub async fn stream_statement<V: Into<Value>>(
        &self,
        statement: impl Into<String>,
        parameters: impl IntoIterator<Item = V>,
    ) -> Result<RowStream, Error> {
        self.begin(Statement::named(statement, parameters)).await
    }

    /// Runs statements one after the other in one transaction: all of them, or none. `statement_index` of an error
    /// says which one failed. The client repeats it only where the scope is [`Scope::read_only`].
    pub async fn transaction(
        &self,
        statements: impl IntoIterator<Item = Statement>,
    ) -> Result<Vec<QueryResult>, Error> {
        let QueryOptions { read_only, statement_timeout, max_rows } = self.options;
        let isolation_level = self.isolation.into();
        let statements = statements.into_iter().map(|Statement(statement)| ScopedStatement {
            max_rows: if statement.max_rows == 0 { max_rows } else { statement.max_rows },
            ..statement
        });
        let request = RunScopedTransactionRequest {
            scope: Some(self.message()?),
            statements: statements.collect(),
            options: Some(TransactionOptions { isolation_level, read_only, statement_timeout }),
        };
        let call = |channel, request| async move { stub(channel).run_scoped_transaction(request).await };
        let response = self.client.call(read_only, request, call).await?;
        response.results.into_iter().map(QueryResult::try_from).collect()
    }

    /// What Postgres sees in this scope.
    pub async fn who_am_i(&self) -> Result<WhoAmIResponse, Error> {
        let request = WhoAmIRequest { scope: Some(self.message()?) };
        let call = |channel, request| async move { QueryServiceClient::new(channel).who_am_i(request).await };
        self.client.call(true, request, call).await
    }

    async fn send(
        &self,
        Statement(ScopedStatement { sql, parameters, statement, .. }): Statement,
    ) -> Result<QueryResult, Error> {
        let (scope, options) = (Some(self.message()?), Some(self.options));
        let request = RunScopedQueryRequest { scope, sql, parameters, options, statement };
        let call = |channel, request| async move { stub(channel).run_scoped_query(request).await };
        self.client.call(self.options.read_only, request, call).await?.try_into()
    }

    async fn begin(
        &self,
        Statement(ScopedStatement { sql, parameters, statement, .. }): Statement,
    ) -> Result<RowStream, Error> {
        let QueryOptions { statement_timeout, max_rows, .. } = self.options;
        let options = StreamOptions { statement_timeout, max_rows: max_rows.into() };
        let (scope, options) = (Some(self.message()?), Some(options));
        let request = StreamScopedQueryRequest { scope, sql, parameters, options, statement };
        let call = |channel, request| async move {
            let mut parts = stub(channel).stream_scoped_query(request).await?.into_inner();
            let first = parts.message().await?;
            Ok(Response::new((first, parts)))
        };
        let client = self.client.with_timeout(self.stream_timeout);
        let ended = client.ended(client.ends());
        let (first, parts) = client.call(true, request, call).await?;
        Ok(RowStream::new(first.ok_or_else(Error::cut)?.columns, parts, ended))
    }

    fn message(&self) -> Result<v1::Scope, Error> {
        Ok(v1::Scope { scope: Some(self.of.clone()?) })
    }
}

fn stub(channel: Channel) -> QueryServiceClient<Channel> {
    QueryServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

/// Shows neither claims nor token.
impl fmt::Debug for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Parameters of different types: `params![1, "text", None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        ::std::vec::Vec::<$crate::Value>::from([$($crate::Value::from($value)),*])
    };
}
