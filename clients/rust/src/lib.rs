#![doc = include_str!("../README.md")]

mod client;
mod error;
mod result;
mod scope;
mod statement;
mod stream;
mod token;
mod turns;
mod value;

pub use client::{Builder, Client};
pub use error::Error;
pub use result::{ColumnIndex, QueryResult, Row};
pub use scope::Scope;
pub use serde_json::json;
pub use statement::Statement;
pub use stream::RowStream;
pub use token::{Token, TokenOptions, TokenSource, Verified};
pub use tonic::Code;
pub use v1::{Column, Interval, IsolationLevel, Kind, StreamSummary, Timestamp};
pub use value::{Date, FromValue, Json, Numeric, Time, Value};

pub use {chrono, serde_json, uuid};

/// The messages and stubs of the contract `usher.v1`. `make proto` writes everything under `gen`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!("gen/usher/v1/usher.v1.rs");
}
