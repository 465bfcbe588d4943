//! What the scenarios do not see, as they see the same of every language. `USHER_ADDRESS` names a live sidecar.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use usher_client::chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use usher_client::uuid::Uuid;
use usher_client::{
    Client, Code, Date, Error, FromValue, Interval, Json, Numeric, Time, TokenOptions, Value, json, params,
};

fn live() -> Client {
    Client::builder().build().expect("a client")
}

fn once(target: impl Into<String>) -> Client {
    Client::builder().target(target).retries(0).timeout(Duration::from_millis(500)).build().expect("a client")
}

fn nobody() -> Client {
    once("127.0.0.1:1")
}

fn reason<T>(result: Result<T, Error>) -> String {
    result.map(|_| "nothing failed".to_owned()).unwrap_or_else(|error| error.reason)
}

#[tokio::test]
async fn a_key_goes_to_this_machine_in_the_clear_and_nowhere_else() {
    let keyed = |target: &str| Client::builder().target(target).key("usher_k");
    for target in ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/usher.sock"] {
        keyed(target).build().expect(target);
    }
    for target in ["example.org:1", "192.0.2.1:1", "127.example.org:1", "[::2]:1", "localhost.example.org:1"]
    {
        let error = keyed(target).build().expect_err(target);
        assert_eq!(
            (error.code, error.reason.as_str()),
            (Code::InvalidArgument, "CLIENT_INVALID"),
            "{target}"
        );
        assert!(error.message.starts_with("key:"));
        keyed(target).tls().build().expect(target);
    }
}

#[tokio::test]
async fn what_is_no_target_key_or_certificate_is_refused_at_once() {
    for target in
        ["dns:///x:1", "localhost", "a@b:1", "http://x:1", "x:70000", "x:1/y", "x:1?y", ":1", "x y:1"]
    {
        assert_eq!(reason(Client::new(target)), "CLIENT_INVALID", "{target}");
    }
    let secured = || Client::builder().target("localhost:1").tls();
    for key in ["", "a\nb", "a b", "ü"] {
        assert_eq!(reason(secured().key(key).build()), "CLIENT_INVALID", "{key}");
    }
    assert_eq!(reason(secured().tls_ca("none").build()), "CLIENT_INVALID");
    assert_eq!(reason(secured().tls_identity("none", "none").build()), "CLIENT_INVALID");
    assert_eq!(reason(secured().target("unix:/run/usher.sock").build()), "CLIENT_INVALID");
}

#[test]
fn a_client_is_not_made_outside_of_a_runtime() {
    assert_eq!(reason(Client::new("127.0.0.1:1")), "CLIENT_INVALID");
}

#[test]
fn a_client_whose_runtime_has_ended_says_so() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let (first, second) = (runtime(), runtime());
    let client = first.block_on(async { live() });
    first.block_on(client.list_keys()).expect_err("they are on the admin address");
    drop(first);
    let failed = second.block_on(client.issue_token("a", json!({}), TokenOptions::new()));
    let error = failed.expect_err("its connection ended with the first runtime");
    assert_eq!(error.reason, "CLIENT_INVALID");
    assert!(error.message.contains("runtime"), "{error}");
}

#[tokio::test]
async fn claims_that_a_struct_does_not_hold_are_refused() {
    let two_53 = 1_i64 << 53;
    for claims in
        [json!({"n": two_53}), json!({"n": [{"m": -two_53}]}), json!({"n": u64::MAX}), json!({"n": 1e300})]
    {
        assert_eq!(
            reason(nobody().as_user("a", claims).query("SELECT 1", params![]).await),
            "CLAIM_NOT_EXACT"
        );
    }
    for claims in [json!([]), json!("a"), json!(1)] {
        assert_eq!(reason(nobody().issue_token("a", claims, TokenOptions::new()).await), "CLIENT_INVALID");
    }
    let claims =
        json!({"most": two_53 - 1, "least": 1 - two_53, "half": 0.5, "none": null, "deep": [{"x": [true]}]});
    let token = live().issue_token("alice", claims.clone(), TokenOptions::new()).await.expect("a token");
    let verified = live().verify_token(token.token, "").await.expect("claims");
    assert_eq!(verified.subject, "alice");
    for (name, value) in claims.as_object().expect("an object") {
        assert_eq!(&verified.claims[name], value);
    }
}

#[tokio::test]
async fn nothing_shows_a_token_key_claim_or_parameter() {
    let builder = Client::builder().target("127.0.0.1:1").key("secret-key").retries(0);
    let client = builder.build().expect("a client");
    for scope in [client.with_token("secret-token"), client.as_user("secret-sub", json!({"n": "secret"}))] {
        let error = scope.query("SELECT 'secret'", ["secret"]).await.expect_err("nobody is there");
        assert_eq!(error.reason, "CLIENT_UNREACHABLE");
        assert!(!format!("{error} {error:?} {client:?} {scope:?}").contains("secret"));
    }
    let token = live().issue_token("alice", json!({}), TokenOptions::new()).await.expect("a token");
    assert!(!format!("{token:?}").contains(&token.token));
    let token =
        live().issue_token("secret", json!({"n": "secret"}), TokenOptions::new()).await.expect("a token");
    let verified = live().verify_token(&token.token, "").await.expect("claims");
    assert!(!format!("{verified:?}").contains("secret"));
}

#[tokio::test]
async fn a_socket_that_is_not_there_or_is_no_socket_is_unreachable() {
    for target in ["unix:/nowhere/usher.sock", "unix:///dev/null", "nowhere.invalid:1"] {
        let client = Client::builder().target(target).retries(0).build().expect("a client");
        let error = client.issue_token("a", json!({}), TokenOptions::new()).await.expect_err(target);
        assert_eq!((error.reason.as_str(), error.retryable), ("CLIENT_UNREACHABLE", true), "{target}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_hangs_up_does_not_hold_a_call() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let waiting = once(silent.local_addr().expect("an address").to_string());
    let error = waiting.issue_token("a", json!({}), TokenOptions::new()).await.expect_err("silence");
    assert_eq!((error.reason.as_str(), error.code), ("CLIENT_DEADLINE", Code::DeadlineExceeded));
    assert!(!error.retryable);
    // The deadline holds while the connection is made, too.
    let target = silent.local_addr().expect("an address").to_string();
    let secured = Client::builder().target(target).tls().retries(0).timeout(Duration::from_millis(500));
    let started = Instant::now();
    let failed = secured.build().expect("a client").issue_token("a", json!({}), TokenOptions::new()).await;
    assert_eq!(reason(failed), "CLIENT_DEADLINE");
    assert!(started.elapsed() < Duration::from_secs(4));
    let (target, _) = hanging_up().await;
    let error = once(target).issue_token("a", json!({}), TokenOptions::new()).await.expect_err("no answer");
    assert_eq!((error.reason.as_str(), error.code), ("CLIENT_UNREACHABLE", Code::Unavailable));
}

/// A server that ends each connection, and how many came.
async fn hanging_up() -> (String, tokio::sync::watch::Receiver<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    let (count, counted) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.send_modify(|count| *count += 1);
            drop(socket);
        }
    });
    (target, counted)
}

#[tokio::test]
async fn close_ends_the_connection_and_all_calls_of_all_clones() {
    let (client, retrying) =
        (live(), Client::builder().target("127.0.0.1:1").retries(1000).build().expect("a client"));
    let sleeping = client.as_user("alice", json!({}));
    let (asked, waiting) = (client.clone(), retrying.clone());
    let started = Instant::now();
    let (slept, tried, ()) = tokio::join!(
        sleeping.query("SELECT pg_sleep(5)", params![]),
        waiting.issue_token("alice", json!({}), TokenOptions::new()),
        async {
            asked.issue_token("alice", json!({}), TokenOptions::new()).await.expect("a token");
            client.close();
            retrying.close();
        },
    );
    assert!(started.elapsed() < Duration::from_secs(4));
    assert_eq!((reason(slept), reason(tried)), ("CLIENT_CLOSED".into(), "CLIENT_CLOSED".into()));
    assert_eq!(reason(sleeping.query("SELECT 1", params![]).await), "CLIENT_CLOSED");
    client.close();

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = once(listener.local_addr().expect("an address").to_string());
    let (failed, mut socket) = tokio::join!(client.issue_token("a", json!({}), TokenOptions::new()), async {
        listener.accept().await.expect("a connection").0
    },);
    assert_eq!(reason(failed), "CLIENT_DEADLINE");
    client.close();
    tokio::time::timeout(Duration::from_secs(5), until_end(&mut socket)).await.expect("the connection ends");
}

async fn until_end(socket: &mut TcpStream) {
    let mut octets = [0; 1024];
    while socket.read(&mut octets).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test]
async fn a_deadline_is_the_clients_or_the_scopes_and_a_dropped_future_cancels() {
    let hasty = live().with_timeout(Duration::from_millis(200));
    let late = hasty.as_user("alice", json!({})).query("SELECT pg_sleep(5)", params![]).await;
    assert!(reason(late).ends_with("DEADLINE"));
    let patient = hasty.as_user("alice", json!({})).timeout(Duration::MAX);
    patient.query("SELECT pg_sleep(0.3)", params![]).await.expect("an answer");
    let dropped = patient.query("SELECT pg_sleep(5)", params![]);
    tokio::time::timeout(Duration::from_millis(200), dropped).await.expect_err("it sleeps");
    patient.query("SELECT 1", params![]).await.expect("the client goes on");
}

#[tokio::test]
async fn a_token_source_shares_a_failure_and_asks_again_after_it() {
    let (target, count) = hanging_up().await;
    let source = once(target).token_source("alice", json!({}), TokenOptions::new());
    let (one, other, third) = tokio::join!(source.token(), source.token(), source.token());
    for failed in [one, other, third] {
        assert_eq!(reason(failed), "CLIENT_UNREACHABLE");
    }
    assert_eq!(*count.borrow(), 1);
    assert_eq!(reason(source.token().await), "CLIENT_UNREACHABLE");
    assert_eq!(*count.borrow(), 2);
}

#[tokio::test]
async fn rows_are_read_by_position_and_name() {
    let scope = live().as_user("a", json!({})).read_only();
    let result =
        scope.query("SELECT g AS n, 1 AS n, NULL::text AS t FROM generate_series(1, 3) g", params![]).await;
    let result = result.expect("rows");
    let numbers: Vec<i64> = (&result).into_iter().map(|row| row.get("n").expect("a number")).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let row = &result.rows[2];
    assert_eq!(
        (&row[0], &row["n"], &row[1], &row["t"]),
        (&Value::Int(3), &Value::Int(3), &Value::Int(1), &Value::Null)
    );
    assert_eq!(row.get::<Option<String>>("t").expect("NULL"), None);
    assert_eq!(row.get::<Value>("t").expect("NULL"), Value::Null);
    for failed in [row.get::<i64>("missing"), row.get::<i64>(3), row.get::<i64>("t"), row.get::<i64>(2)] {
        assert_eq!(reason(failed), "CLIENT_INVALID");
    }
    assert_eq!(result.into_iter().next_back().expect("a row").into_iter().count(), 3);
}

#[tokio::test]
async fn what_rust_has_goes_and_comes_as_it_is() {
    let alice = live().as_user("alice", json!({}));
    let moment: DateTime<Utc> = "1969-12-31T23:59:59.999999Z".parse().expect("a moment");
    let (day, clock) =
        (NaiveDate::from_ymd_opt(-43, 3, 15).expect("a day"), NaiveTime::from_hms_micro_opt(23, 59, 59, 1));
    let (wall, uuid) = (moment.naive_utc(), Uuid::from_u128(7));
    let parameters = params![
        moment,
        wall,
        day,
        clock,
        u64::MAX,
        i16::MIN,
        1.5_f32,
        uuid,
        vec![Some(1_i32), None],
        json!([1, null]),
        vec![0_u8, 255],
        Numeric("1.20".into()),
        true,
        None::<String>,
        "text".to_owned(),
        Interval { months: 1, days: 2, micros: 3 },
        b"octets",
        &["a", "b"][..],
        [1_u16, 2],
        "seven".len(),
    ];
    let sql = "SELECT $1::timestamptz, $2::timestamp, $3::date, $4::time, $5::numeric, $6::int2, $7::float4, $8::uuid,
        $9::int4[], $10::jsonb, $11::bytea, $12::numeric, $13::bool, $14::text, $15::text, $16::interval,
        $17::bytea, $18::text[], $19::int8[], $20::int8, 0.1::float4, 0.1::float8";
    let row = alice.query(sql, parameters).await.expect("a row").rows.remove(0);
    assert_eq!(row.get::<DateTime<Utc>>(0).expect("a moment"), moment);
    assert_eq!(row.get::<NaiveDateTime>(1).expect("a moment"), wall);
    assert_eq!(row.get::<NaiveDate>(2).expect("a day"), day);
    assert_eq!(row.get::<Option<NaiveTime>>(3).expect("a time"), clock);
    assert_eq!(row.get::<Numeric>(4).expect("a number").0, u64::MAX.to_string());
    assert_eq!(row.get::<i16>(5).expect("a number"), i16::MIN);
    assert_eq!(row.get::<f64>(6).expect("a number"), 1.5);
    assert_eq!(row.get::<Uuid>(7).expect("a uuid"), uuid);
    assert_eq!(row.get::<Vec<Option<i32>>>(8).expect("an array"), [Some(1), None]);
    assert_eq!(row.get::<usher_client::serde_json::Value>(9).expect("JSON"), json!([1, null]));
    assert_eq!(row.get::<Json>(9).expect("JSON").0, "[1, null]");
    assert_eq!(row.get::<Vec<u8>>(10).expect("bytes"), [0, 255]);
    assert_eq!(row.get::<Numeric>(11).expect("a number").0, "1.20");
    assert!(row.get::<bool>(12).expect("a bool"));
    assert_eq!(row.get::<Option<String>>(13).expect("NULL"), None);
    assert_eq!(row.get::<String>(14).expect("text"), "text");
    assert_eq!(row.get::<Interval>(15).expect("an interval"), Interval { months: 1, days: 2, micros: 3 });
    assert_eq!(row.get::<Vec<u8>>(16).expect("bytes"), b"octets");
    assert_eq!(row.get::<Vec<String>>(17).expect("an array"), ["a", "b"]);
    assert_eq!(row.get::<Vec<i64>>(18).expect("an array"), [1, 2]);
    assert_eq!(row.get::<i64>(19).expect("a number"), 5);
    assert_eq!(row.get::<f32>(20).expect("a number"), 0.1_f32);
    assert_eq!(reason(row.get::<f32>(21)), "CLIENT_INVALID"); // it would be rounded
}

#[test]
fn what_a_type_does_not_hold_is_no_other_value() {
    assert_eq!(reason(i16::try_from(Value::Int(32_768))), "CLIENT_INVALID");
    assert_eq!(reason(u32::try_from(Value::Int(-1))), "CLIENT_INVALID");
    assert_eq!(reason(i64::try_from(Value::Float(1.0))), "CLIENT_INVALID");
    for days in [i32::MAX, i32::MIN, 2_000_000_000] {
        assert_eq!(reason(NaiveDate::from_value(Date(days).into())), "CLIENT_INVALID");
    }
    assert_eq!(reason(NaiveTime::from_value(Time(86_400_000_000).into())), "CLIENT_INVALID");
    for moment in [usher_client::Timestamp::INFINITY, usher_client::Timestamp::NEG_INFINITY] {
        assert_eq!(reason(NaiveDateTime::from_value(Value::Timestamp(moment))), "CLIENT_INVALID");
        assert_eq!(reason(DateTime::<Utc>::from_value(Value::TimestampTz(moment))), "CLIENT_INVALID");
    }
    // A leap second is the next minute's first, as Postgres has it.
    let leap = "2016-12-31T23:59:60.5Z".parse::<DateTime<Utc>>().expect("a moment");
    assert_eq!(
        Value::from(leap),
        Value::from("2017-01-01T00:00:00.5Z".parse::<DateTime<Utc>>().expect("a moment"))
    );
}
