//! Whose rows a statement sees.

use std::fmt;
use std::time::Duration;

use serde_json::Value as Claims;

use crate::client::{Client, duration};
use crate::token::claims_struct;
use crate::v1::query_service_client::QueryServiceClient;
use crate::v1::{
    self, Principal, QueryOptions, RunScopedQueryRequest, WhoAmIRequest, WhoAmIResponse, scope::Scope as Of,
};
use crate::{Error, QueryResult, Value};

const MAX_MESSAGE: usize = 512 << 20;

/// An end user whose rows a statement sees, and how it is run. Made by [`Client::as_user`] and
/// [`Client::with_token`].
#[derive(Clone)]
pub struct Scope {
    client: Client,
    of: Result<Of, Error>,
    options: QueryOptions,
}

impl Client {
    /// The scope of an end user. Claims that cannot be sent show at the first query.
    pub fn as_user(&self, sub: impl Into<String>, claims: Claims) -> Scope {
        let subject = sub.into();
        let of = claims_struct(claims).map(|claims| Of::Principal(Principal { subject, claims }));
        Scope { client: self.clone(), of, options: QueryOptions::default() }
    }

    /// The scope of a token.
    pub fn with_token(&self, token: impl Into<String>) -> Scope {
        Scope { client: self.clone(), of: Ok(Of::Token(token.into())), options: QueryOptions::default() }
    }
}

impl Scope {
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

    /// Longest run time in Postgres.
    pub fn statement_timeout(mut self, limit: Duration) -> Self {
        self.options.statement_timeout = Some(duration(limit));
        self
    }

    /// Each call's deadline, instead of the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.client = self.client.with_timeout(timeout);
        self
    }

    /// Runs one statement.
    pub async fn query<V: Into<Value>>(
        &self,
        sql: impl Into<String>,
        parameters: impl IntoIterator<Item = V>,
    ) -> Result<QueryResult, Error> {
        self.send(RunScopedQueryRequest { sql: sql.into(), ..Default::default() }, parameters).await
    }

    /// Runs a named statement.
    pub async fn run<V: Into<Value>>(
        &self,
        statement: impl Into<String>,
        parameters: impl IntoIterator<Item = V>,
    ) -> Result<QueryResult, Error> {
        self.send(RunScopedQueryRequest { statement: statement.into(), ..Default::default() }, parameters)
            .await
    }

    /// What Postgres sees in this scope.
    pub async fn who_am_i(&self) -> Result<WhoAmIResponse, Error> {
        let request = WhoAmIRequest { scope: Some(self.message()?) };
        let call = |channel, request| async move { QueryServiceClient::new(channel).who_am_i(request).await };
        self.client.call(true, request, call).await
    }

    async fn send<V: Into<Value>>(
        &self,
        mut request: RunScopedQueryRequest,
        parameters: impl IntoIterator<Item = V>,
    ) -> Result<QueryResult, Error> {
        request.scope = Some(self.message()?);
        request.options = Some(self.options);
        request.parameters = parameters.into_iter().map(|value| value.into().into()).collect();
        let call = |channel, request| async move {
            let mut stub = QueryServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
            stub.run_scoped_query(request).await
        };
        self.client.call(self.options.read_only, request, call).await?.try_into()
    }

    fn message(&self) -> Result<v1::Scope, Error> {
        Ok(v1::Scope { scope: Some(self.of.clone()?) })
    }
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
