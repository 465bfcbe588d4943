/** Usher's client: tokens, and SQL that sees an end user's rows only. */

export type { CallOptions } from "./calls.js";
export { Client, TokenSource } from "./client.js";
export type { Claims, ClientOptions, Key, Revoked, Tls, Token, TokenOptions, Verified } from "./client.js";
export { UsherError } from "./errors.js";
export { Result, Row, type Column } from "./result.js";
export { Scope } from "./scope.js";
export type { QueryOptions, Statement, StreamOptions, TransactionOptions } from "./scope.js";
export { RowStream, type StreamSummary } from "./stream.js";
export { Json, Numeric, PgDate, PgInterval, PgTime, PgTimestamp, type Parameter, type Value } from "./values.js";
