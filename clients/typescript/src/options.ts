/** What a client, a call and a statement may be told. */

import type { Parameter } from "./values.js";

/** Custom claims: null, boolean, number, string, arrays and objects of them. */
export type Claims = Readonly<Record<string, unknown>>;

/** TLS with the system's roots (`true`), or with what is given in PEM. */
export type Tls = boolean | { ca?: string | Uint8Array; cert?: string | Uint8Array; key?: string | Uint8Array };

/** How calls travel: gRPC over HTTP/2, or Connect over HTTP/1.1, to the sidecar's `connect_address`. */
export type Protocol = "grpc" | "connect";

export interface ClientOptions {
  /** "grpc" unless given. */
  protocol?: Protocol;
  /** Plain unless given. */
  tls?: Tls;
  /** A bearer key. Without TLS it goes to this machine only. */
  key?: string;
  /** Each call's deadline; 15 s unless given. */
  timeoutMs?: number;
  /** How often a call that changes nothing is repeated; 3 unless given. */
  retries?: number;
  /** Whether JSON comes as the text that Postgres prints. */
  jsonText?: boolean;
}

export interface TokenOptions {
  audiences?: readonly string[];
  /** The lifetime; the server's default unless given. */
  ttlSeconds?: number;
}

export interface CallOptions {
  /** The deadline of this call, or of this stream, which has 10 minutes unless given. */
  timeoutMs?: number;
  /** Cancels the call. */
  signal?: AbortSignal;
}

export interface StreamOptions extends CallOptions {
  /** Most rows to return; the result says whether there were more. */
  maxRows?: number;
  /** Longest run time in Postgres; of a stream, for each portion of its rows. */
  statementTimeoutMs?: number;
}

export interface QueryOptions extends StreamOptions {
  /** Runs the statement in a READ ONLY transaction, and lets the client repeat it. */
  readOnly?: boolean;
}

/** A level of transaction isolation (PostgreSQL documentation, "Transaction Isolation"). */
export type Isolation = "read committed" | "repeatable read" | "serializable";

export interface TransactionOptions extends CallOptions {
  /** How much it sees of what others commit meanwhile; "read committed" unless given. */
  isolation?: Isolation;
  /** Makes the transaction READ ONLY, and lets the client repeat it. */
  readOnly?: boolean;
  /** Longest run time of each statement in Postgres. */
  statementTimeoutMs?: number;
}

/** A statement of a transaction: SQL, or the name of a statement that the server holds. */
export type Statement = ({ sql: string } | { statement: string }) & {
  parameters?: readonly Parameter[];
  /** Most rows to return; the result says whether there were more. */
  maxRows?: number;
};
