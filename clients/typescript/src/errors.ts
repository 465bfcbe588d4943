/** The one error of the client, and how it is read off a gRPC status. */

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";

const AGAIN = new Set(["SERIALIZATION_FAILURE", "DEADLOCK", "LOCK_NOT_AVAILABLE", "SHUTTING_DOWN"]);
const OWN: Record<string, string> = {
  UNAVAILABLE: "CLIENT_UNREACHABLE",
  DEADLINE_EXCEEDED: "CLIENT_DEADLINE",
  CANCELLED: "CLIENT_CANCELLED",
  RESOURCE_EXHAUSTED: "CLIENT_MESSAGE_TOO_LARGE",
};

/** A call that was refused or failed. Branch on `reason`; the message is for people. */
export class UsherError extends Error {
  override readonly name = "UsherError";
  /** What the server says of the error, such as the table and the column. */
  metadata: Readonly<Record<string, string>> = {};
  /** What is wrong, by field of the request. */
  fields: Readonly<Record<string, string>> = {};
  /** How many milliseconds the server asks to wait before another try. */
  retryDelayMs: number | undefined;
  /** Whether the same call may succeed later without harm. */
  retryable = false;

  /**
   * @param code the gRPC status, such as INVALID_ARGUMENT
   * @param reason one of docs/errors.md, or one that begins with CLIENT_ (clients/CONTRACT.md)
   */
  constructor(readonly code: string, readonly reason: string, message: string, options?: ErrorOptions) {
    super(message, options);
  }

  /** The SQLSTATE of Postgres (Appendix A of its documentation), if it was the one that refused. */
  get sqlstate(): string | undefined {
    return this.metadata.sqlstate;
  }

  /** Which statement of a transaction failed, counted from 0; undefined when it was none of them. */
  get statementIndex(): number | undefined {
    const { statement_index: index } = this.metadata;
    return index === undefined ? undefined : Number(index);
  }

  /** What the server's log knows the call by. */
  get requestId(): string | undefined {
    return this.metadata.request_id;
  }
}

/** What the client refuses before it sends anything. */
export function invalid(message: string, reason = "CLIENT_INVALID"): UsherError {
  return new UsherError("INVALID_ARGUMENT", reason, message);
}

/** A call on a client that was closed. */
export function closed(): UsherError {
  return new UsherError("CANCELLED", "CLIENT_CLOSED", "the client was closed; make a new one");
}

/** A call that the caller's signal ended, or that the caller left. */
export function cancelled(signal?: AbortSignal): UsherError {
  const cause: unknown = signal?.reason;
  return cause instanceof DOMException && cause.name === "TimeoutError"
    ? new UsherError("DEADLINE_EXCEEDED", "CLIENT_DEADLINE", "the signal's time was over", { cause })
    : new UsherError("CANCELLED", "CLIENT_CANCELLED", "the call was cancelled", { cause });
}

/** A stream that ended as if it were whole, but without its last message. */
export function cut(): UsherError {
  return new UsherError("INTERNAL", "CLIENT_OTHER", "the stream was cut: it ended without its summary");
}

/** The error of a call that the transport ended. */
export function fromTransport(thrown: unknown, repeatable: boolean): UsherError {
  const error = ConnectError.from(thrown);
  const told = ["grpc-status", "content-type"].some((name) => error.metadata.has(name)); // by gRPC, by Connect
  const status = told ? error.code : local(error);
  const code = status === Code.Canceled ? "CANCELLED" : Code[status].replace(/\B[A-Z]/g, "_$&").toUpperCase();
  const details = new Map(error.details.map((one) => ("type" in one ? [one.type, one.value] : ["", EMPTY])));
  const info = parts(details.get("google.rpc.ErrorInfo"));
  const reason = info.length ? text(info, 1) : (OWN[code] ?? "CLIENT_OTHER");
  // An encoder's message may quote what it was to encode.
  const shown = reason !== "CLIENT_OTHER" || told;
  const made = new UsherError(code, reason, shown ? error.rawMessage.trim() : "the request was not sent or the answer not read");
  made.metadata = pairs(info, 3);
  made.fields = pairs(parts(details.get("google.rpc.BadRequest")), 1);
  const retry = details.get("google.rpc.RetryInfo");
  if (retry !== undefined) {
    const delay = parts(parts(retry)[0]?.value);
    made.retryDelayMs = count(delay, 1) * 1000 + count(delay, 2) / 1e6;
  }
  made.retryable =
    retry !== undefined || AGAIN.has(reason) || (repeatable && reason === "CLIENT_UNREACHABLE");
  return made;
}

/** The status where no server gave one: a connection that failed, or that ended under the call, is UNAVAILABLE. */
function local(error: ConnectError): Code {
  const gone = [Code.Aborted, Code.Canceled, Code.Unavailable].includes(error.code);
  const system = error.cause instanceof Error && "code" in error.cause;
  return gone || system || error.rawMessage.startsWith("http/2 ") ? Code.Unavailable : error.code;
}

interface Part {
  no: number;
  value: Uint8Array;
  number: number;
}

const EMPTY = new Uint8Array();

/** The fields of a message of google.rpc, which are texts, messages and whole numbers. */
function parts(message: Uint8Array = EMPTY): Part[] {
  const reader = new BinaryReader(message);
  const found: Part[] = [];
  while (reader.pos < reader.len) {
    const [no, type] = reader.tag();
    if (type === WireType.LengthDelimited) found.push({ no, value: reader.bytes(), number: 0 });
    else if (type === WireType.Varint) found.push({ no, value: EMPTY, number: Number(reader.int64()) });
    else reader.skip(type, no);
  }
  return found;
}

function text(found: Part[], no: number): string {
  return new TextDecoder().decode(found.find((part) => part.no === no)?.value);
}

function count(found: Part[], no: number): number {
  return found.find((part) => part.no === no)?.number ?? 0;
}

/** The repeated field `no`, whose messages have a name as field 1 and a text as field 2. */
function pairs(found: Part[], no: number): Record<string, string> {
  const entries = found.filter((part) => part.no === no).map((part) => parts(part.value));
  return Object.fromEntries(entries.map((entry) => [text(entry, 1), text(entry, 2)]));
}
