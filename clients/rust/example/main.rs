//! `GET /api/users` answers with the rows that the user in the request may see. The request brings the user's token
//! (`Authorization: Bearer ...`, made by `IssueToken`); the policies in Postgres decide on the rows.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use usher_client::serde_json::Value;
use usher_client::{Client, Code, Error, json, params};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder().build()?; // USHER_ADDRESS, or 127.0.0.1:50051
    let app = Router::new().route("/api/users", get(users)).with_state(client);
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}/api/users", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn users(State(client): State<Client>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let header = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
    visible(&client, token).await.map(Json).map_err(|error| {
        eprintln!("{error}");
        match error.code {
            Code::Unauthenticated | Code::InvalidArgument => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::Unavailable | Code::ResourceExhausted => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    })
}

async fn visible(client: &Client, token: &str) -> Result<Value, Error> {
    let reader = client.with_token(token).read_only();
    let result = reader.query("SELECT id, name, email FROM users ORDER BY id", params![]).await?;
    let user = |row: &usher_client::Row| {
        let (id, name) = (row.get::<String>("id")?, row.get::<String>("name")?);
        Ok(json!({"id": id, "name": name, "email": row.get::<String>("email")?}))
    };
    result.rows.iter().map(user).collect()
}
