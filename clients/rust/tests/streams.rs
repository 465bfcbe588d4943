//! What the scenarios do not see of streams and transactions. `USHER_ADDRESS` names a live sidecar.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use futures_core::Stream;
use usher_client::chrono::{DateTime, Utc};
use usher_client::{Client, Error, RowStream, Scope, Statement, Value, json, params};

/// 32 MB, and when Postgres made each row.
const MANY: &str = "SELECT clock_timestamp() AS made, repeat('x', 32000) FROM generate_series(1, 1000)";

fn alice() -> Scope {
    Client::builder().build().expect("a client").as_user("alice", json!({"tenant_id": "acme"}))
}

async fn begun(scope: &Scope, sql: &str) -> RowStream {
    let mut stream = scope.stream(sql, params![]).await.expect("a stream");
    stream.next().await.expect("a row").expect("a row");
    stream
}

async fn end(mut stream: RowStream) -> Result<(), Error> {
    while let Some(row) = stream.next().await {
        row?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_postgres_up() {
    let alice = alice();
    let mut slow = begun(&alice, MANY).await;
    end(begun(&alice, MANY).await).await.expect("as many rows"); // in this time the first would have come, too
    let now = alice.query("SELECT clock_timestamp()", params![]).await.expect("the time");
    let now: DateTime<Utc> = now.rows[0].get(0).expect("the time");
    let mut before = 0;
    while let Some(row) = slow.next().await {
        before += u32::from(row.expect("a row").get::<DateTime<Utc>>("made").expect("a time") < now);
    }
    assert!((1..500).contains(&before), "{before} of 1000 were made ahead");
    assert_eq!(slow.summary().expect("the end").row_count, 1000);
}

#[tokio::test]
async fn streams_that_are_not_read_do_not_hold_up_other_calls_of_their_client() {
    // Less than the 45 s after which the sidecar would cut what is not read.
    let alice = alice().timeout(Duration::from_secs(30));
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(begun(&alice, MANY).await);
    }
    for _ in 0..4 {
        alice.query("SELECT repeat('x', 1000000)", params![]).await.expect("an answer");
    }
    drop(unread);
}

#[tokio::test]
async fn it_is_a_stream_as_the_futures_crate_has_it_and_ends_once() {
    let mut stream = pin!(
        alice().stream("SELECT 1 / (3 - g) FROM generate_series(1, 9) g", params![]).await.expect("a stream")
    );
    let mut got = Vec::new();
    while let Some(row) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        got.push(row.map(|row| row[0].clone()).map_err(|error| error.reason));
    }
    assert_eq!(got, [Ok(Value::Int(0)), Ok(Value::Int(1)), Err("DATA_EXCEPTION".into())]);
    assert!(stream.next().await.is_none());
    assert!(stream.summary().is_none() && format!("{stream:?}").contains("RowStream"));
}

#[tokio::test]
async fn a_stream_has_a_deadline_of_its_own_and_ends_with_its_client() {
    let client = Client::builder().timeout(Duration::from_millis(200)).build().expect("a client");
    let alice = client.as_user("alice", json!({}));
    end(alice.stream("SELECT pg_sleep(0.4)", params![]).await.expect("a stream")).await.expect("its end");
    // The deadline also passes while its caller does something else.
    let hasty = begun(&alice.clone().timeout(Duration::from_millis(300)), MANY).await;
    let patient = alice.clone().timeout(Duration::from_secs(15));
    patient.query("SELECT pg_sleep(0.4)", params![]).await.expect("an answer");
    assert_eq!(end(hasty).await.expect_err("it is late").reason, "CLIENT_DEADLINE");
    let unread = begun(&alice, MANY).await;
    client.close();
    assert_eq!(end(unread).await.expect_err("it is closed").reason, "CLIENT_CLOSED");
    let refused = alice.stream("SELECT 1", params![]).await.expect_err("it is closed");
    assert_eq!(refused.reason, "CLIENT_CLOSED");
}

#[tokio::test]
async fn statements_of_a_transaction_have_the_scopes_limit_of_rows_or_their_own() {
    let sql = "SELECT generate_series(1, 5)";
    let own = Statement::sql(sql, params![]).max_rows(2);
    assert!(!format!("{own:?}").contains("SELECT"));
    let results =
        alice().max_rows(3).transaction([Statement::sql(sql, params![]), own]).await.expect("results");
    assert_eq!(results.iter().map(|result| result.rows.len()).collect::<Vec<_>>(), [3, 2]);
}
