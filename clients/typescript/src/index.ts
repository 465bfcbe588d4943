/** Usher's client: tokens, and SQL that sees an end user's rows only. */

export { Client, Scope, TokenSource } from "./client.js";
export type {
  CallOptions, Claims, ClientOptions, Key, QueryOptions, Revoked, Tls, Token, TokenOptions, Verified,
} from "./client.js";
export { UsherError } from "./errors.js";
export { Result, Row, type Column } from "./result.js";
export { Json, Numeric, PgDate, PgInterval, PgTime, PgTimestamp, type Parameter, type Value } from "./values.js";
