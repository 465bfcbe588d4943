//! The runner of the scenarios (clients/CONTRACT.md): a JSON request a line in, a JSON answer a line out.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use usher_client::{
    Client, Column, Error, IsolationLevel, QueryResult, Row, Scope, Statement, TokenOptions, TokenSource,
    Value,
};

mod values;

#[derive(Default)]
struct Runner {
    clients: Mutex<HashMap<String, Client>>,
    sources: Mutex<HashMap<String, TokenSource>>,
    tokens: Mutex<HashMap<String, String>>,
}

#[tokio::main]
async fn main() {
    let runner = Arc::new(Runner::default());
    for line in std::io::stdin().lines() {
        let request: Json = serde_json::from_str(&line.expect("standard input")).expect("JSON");
        let answer = match text(&request, "do").as_str() {
            "many" => many(&runner, &request).await,
            _ => runner.answer(&request).await,
        };
        println!("{answer}");
    }
}

async fn many(runner: &Arc<Runner>, request: &Json) -> Json {
    let mut one = request["request"].clone();
    one["client"] = request["client"].clone();
    let mut calls = JoinSet::new();
    for _ in 0..request["count"].as_u64().expect("a count") {
        let (runner, one) = (runner.clone(), one.clone());
        calls.spawn(async move { runner.answer(&one).await.to_string() });
    }
    let mut counts = BTreeMap::<String, u64>::new();
    for answer in calls.join_all().await {
        *counts.entry(answer).or_default() += 1;
    }
    let mut answers: Vec<_> = counts.into_iter().collect();
    answers.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let read = |(answer, count): (String, u64)| (serde_json::from_str::<Json>(&answer).expect("JSON"), count);
    json!({"answers": answers.into_iter().map(read).collect::<Vec<_>>()})
}

impl Runner {
    async fn answer(&self, request: &Json) -> Json {
        self.act(request).await.unwrap_or_else(|error| json!({"error": failure(&error)}))
    }

    async fn act(&self, request: &Json) -> Result<Json, Error> {
        match text(request, "do").as_str() {
            "connect" => {
                let client = connect(request)?;
                self.clients.lock().unwrap().insert(text(request, "client"), client);
                Ok(json!({"ok": true}))
            }
            "close" => {
                self.client(request).close();
                Ok(json!({"ok": true}))
            }
            "query" => match seconds(request, "cancel_after") {
                // A dropped future is how a call is cancelled in Rust.
                Some(after) => tokio::time::timeout(after, self.query(request)).await.unwrap_or_else(|_| {
                    Ok(json!({"error": {
                        "code": "CANCELLED", "reason": "CLIENT_CANCELLED", "sqlstate": null,
                        "retryable": false, "fields": [],
                    }}))
                }),
                None => self.query(request).await,
            },
            "stream" => Ok(self.stream(request).await),
            "transaction" => {
                let statements = request["statements"].as_array().into_iter().flatten().map(statement);
                let results = self.configured(request).transaction(statements).await?;
                Ok(json!({"results": results.iter().map(shown).collect::<Json>()}))
            }
            "issue" => {
                let claims = request["claims"].clone();
                let token =
                    self.client(request).issue_token(text(request, "sub"), claims, options(request)).await?;
                let lifetime = (token.expire_time - token.issue_time).num_seconds();
                self.tokens.lock().unwrap().insert(text(request, "save"), token.token);
                let kid_length = token.kid.len();
                Ok(json!({"token": {"alg": token.alg, "lifetime": lifetime, "kid_length": kid_length}}))
            }
            "source" => self.source(request).await,
            "verify" => {
                let token = self.saved(request).unwrap_or_else(|| text(request, "token"));
                let mut claims =
                    self.client(request).verify_token(token, text(request, "audience")).await?.claims;
                claims.retain(|name, _| !["iat", "exp", "nbf", "jti", "iss"].contains(&name.as_str()));
                Ok(json!({"claims": claims}))
            }
            "whoami" => {
                let seen = self.scope(request).who_am_i().await?;
                let (role, user_id, backend_kind) = (seen.role, seen.user_id, seen.backend_kind);
                Ok(json!({"role": role, "user_id": user_id, "backend_kind": backend_kind}))
            }
            "keys" => {
                let mut states = BTreeMap::<String, u64>::new();
                for key in self.client(request).list_keys().await? {
                    let name = key.state().as_str_name().trim_start_matches("KEY_STATE_").to_lowercase();
                    *states.entry(name).or_default() += 1;
                }
                Ok(json!({"states": states}))
            }
            _ => Ok(json!({"unsupported": true})),
        }
    }

    async fn query(&self, request: &Json) -> Result<Json, Error> {
        let scope = self.configured(request);
        let result = match request["statement"].as_str() {
            Some(statement) => scope.run(statement, parameters(request)).await?,
            None => scope.query(text(request, "sql"), parameters(request)).await?,
        };
        Ok(shown(&result))
    }

    async fn stream(&self, request: &Json) -> Json {
        let mut rows = Vec::new();
        match self.streamed(request, &mut rows).await {
            Ok(mut answer) => {
                answer["rows"] = rows.into();
                answer
            }
            Err(error) => json!({"rows": rows, "error": failure(&error)}),
        }
    }

    async fn streamed(&self, request: &Json, rows: &mut Vec<Json>) -> Result<Json, Error> {
        let scope = self.configured(request);
        let mut stream = match request["statement"].as_str() {
            Some(statement) => scope.stream_statement(statement, parameters(request)).await?,
            None => scope.stream(text(request, "sql"), parameters(request)).await?,
        };
        let columns = columns(stream.columns());
        while let Some(row) = stream.next().await {
            rows.push(cells(&row?));
            if request["stop_after"] == rows.len() {
                return Ok(json!({"stopped": true}));
            }
        }
        let summary = stream.summary().expect("it has ended");
        Ok(json!({"columns": columns, "summary": {
            "row_count": summary.row_count, "truncated": summary.truncated, "command_tag": summary.command_tag,
        }}))
    }

    /// The scope with the options of the request.
    fn configured(&self, request: &Json) -> Scope {
        let mut scope = self.scope(request);
        if request["read_only"] == true {
            scope = scope.read_only();
        }
        if let Some(rows) = request["max_rows"].as_u64() {
            scope = scope.max_rows(rows as u32);
        }
        if let Some(limit) = seconds(request, "statement_timeout") {
            scope = scope.statement_timeout(limit);
        }
        if let Some(timeout) = seconds(request, "timeout") {
            scope = scope.timeout(timeout);
        }
        match request["isolation"].as_str() {
            Some("read committed") => scope.isolation(IsolationLevel::ReadCommitted),
            Some("repeatable read") => scope.isolation(IsolationLevel::RepeatableRead),
            Some("serializable") => scope.isolation(IsolationLevel::Serializable),
            _ => scope,
        }
    }

    async fn source(&self, request: &Json) -> Result<Json, Error> {
        let made = || {
            let claims = request["claims"].clone();
            self.client(request).token_source(text(request, "sub"), claims, options(request))
        };
        let source = self.sources.lock().unwrap().entry(text(request, "source")).or_insert_with(made).clone();
        let mut calls = JoinSet::new();
        let mut tokens = Vec::new();
        for _ in 0..request["calls"].as_u64().expect("a count") {
            let source = source.clone();
            calls.spawn(async move { source.token().await });
            if request["parallel"] != true {
                tokens.push(calls.join_next().await.expect("a call").expect("no panic")?.token);
                sleep(seconds(request, "pause").unwrap_or_default()).await;
            }
        }
        for token in calls.join_all().await {
            tokens.push(token?.token);
        }
        tokens.sort();
        tokens.dedup();
        Ok(json!({"distinct": tokens.len()}))
    }

    fn client(&self, request: &Json) -> Client {
        self.clients.lock().unwrap()[&text(request, "client")].clone()
    }

    fn saved(&self, given: &Json) -> Option<String> {
        given["saved"].as_str().map(|name| self.tokens.lock().unwrap()[name].clone())
    }

    fn scope(&self, request: &Json) -> Scope {
        let (client, scope) = (self.client(request), &request["scope"]);
        match self.saved(scope).or_else(|| scope["token"].as_str().map(str::to_owned)) {
            Some(token) => client.with_token(token),
            None => client.as_user(text(scope, "sub"), scope["claims"].clone()),
        }
    }
}

fn failure(error: &Error) -> Json {
    let mut shown = json!({
        "code": error.status(), "reason": error.reason, "sqlstate": error.sqlstate(), "retryable": error.retryable,
        "fields": error.fields.keys().collect::<Vec<_>>(),
    });
    if let Some(index) = error.statement_index() {
        shown["statement_index"] = index.into();
    }
    shown
}

fn statement(request: &Json) -> Statement {
    let statement = match request["statement"].as_str() {
        Some(name) => Statement::named(name, parameters(request)),
        None => Statement::sql(text(request, "sql"), parameters(request)),
    };
    match request["max_rows"].as_u64() {
        Some(rows) => statement.max_rows(rows as u32),
        None => statement,
    }
}

fn parameters(request: &Json) -> Vec<Value> {
    request["params"].as_array().into_iter().flatten().map(values::native).collect()
}

fn shown(result: &QueryResult) -> Json {
    json!({
        "columns": columns(&result.columns), "rows": result.into_iter().map(cells).collect::<Json>(),
        "truncated": result.truncated, "command_tag": result.command_tag, "affected_rows": result.affected_rows,
    })
}

fn columns(columns: &[Column]) -> Json {
    let kind = |column: &Column| column.kind().as_str_name().trim_start_matches("KIND_").to_owned();
    columns.iter().map(|column| json!([column.name, column.type_name, kind(column)])).collect()
}

fn cells(row: &Row) -> Json {
    row.values().iter().map(values::shown).collect()
}

fn connect(request: &Json) -> Result<Client, Error> {
    let mut builder = Client::builder().target(text(request, "target"));
    if let Some(ca) = request["ca"].as_str() {
        builder = builder.tls_ca(ca);
    }
    if let Some(cert) = request["cert"].as_str() {
        builder = builder.tls_identity(cert, text(request, "private_key"));
    }
    if let Some(key) = request["key"].as_str() {
        builder = builder.key(key);
    }
    if let Some(retries) = request["retries"].as_u64() {
        builder = builder.retries(retries as u32);
    }
    builder.build()
}

fn options(request: &Json) -> TokenOptions {
    let mut options = TokenOptions::new();
    for audience in request["audiences"].as_array().into_iter().flatten() {
        options = options.audience(audience.as_str().expect("text"));
    }
    match seconds(request, "ttl") {
        Some(ttl) => options.ttl(ttl),
        None => options,
    }
}

fn text(request: &Json, name: &str) -> String {
    request[name].as_str().unwrap_or_default().to_owned()
}

fn seconds(request: &Json, name: &str) -> Option<Duration> {
    request[name].as_f64().map(Duration::from_secs_f64)
}
