/** Usher's client: tokens, and SQL that sees an end user's rows only. */

export { Client, TokenSource } from "./client.js";
export type { Key, Revoked, Token, Verified } from "./client.js";
export { UsherError } from "./errors.js";
export type {
  CallOptions, Claims, ClientOptions, Isolation, Protocol, QueryOptions, Statement, StreamOptions, Tls, TokenOptions,
  TransactionOptions,
} from "./options.js";
export { Result, Row, type Column } from "./result.js";
export { Scope } from "./scope.js";
export { RowStream, type StreamSummary } from "./stream.js";
export { Json, Numeric, PgDate, PgInterval, PgTime, PgTimestamp, type Parameter, type Value } from "./values.js";
