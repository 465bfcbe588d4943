/** Values of Postgres as JavaScript's own, exactly, both ways. The table is in clients/CONTRACT.md. */

import type { JsonObject, JsonValue, MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, type Duration } from "@bufbuild/protobuf/wkt";
import { invalid } from "./errors.js";
import { Kind, type Column, type ColumnData, type ValueSchema } from "./gen/usher/v1/values_pb.js";

/** A value of a row. JSON comes parsed. */
export type Value =
  | null | boolean | number | bigint | string | Uint8Array
  | Numeric | PgDate | PgTime | PgTimestamp | PgInterval | Value[] | { [name: string]: JsonValue };

/** A parameter of a statement. A string fits every type: Postgres reads its text form. */
export type Parameter =
  | null | boolean | number | bigint | string | Uint8Array | Date
  | Numeric | PgDate | PgTime | PgTimestamp | PgInterval | Json | readonly Parameter[];

type Sent = NonNullable<MessageInitShape<typeof ValueSchema>["kind"]>;

const INT32 = [-(2 ** 31), 2 ** 31 - 1] as const;
const INT64 = [-(2n ** 63n), 2n ** 63n - 1n] as const;

/** A parameter for json or jsonb: anything that JSON.stringify takes. */
export class Json {
  constructor(readonly value: unknown) {}
}

/** A numeric as decimal text, NaN and Infinity included. */
export class Numeric {
  constructor(readonly text: string) {}
  toString(): string { return this.text; }
  toJSON(): string { return this.text; }
}

/** A date: days since 1970-01-01; 2^31-1 and -2^31 are infinite. */
export class PgDate {
  constructor(readonly days: number) { whole("PgDate", days, INT32); }
  /** 1, -1, or 0 for a date that is finite. */
  get infinite(): number { return extreme(this.days, INT32); }
  /** Midnight in UTC. An invalid Date where Date does not reach. */
  toDate(): Date { return new Date(this.infinite ? NaN : this.days * 86_400_000); }
  /** As Postgres writes it in ISO style. */
  toString(): string { return INFINITY[this.infinite] ?? day(this.days).join(""); }
  toJSON(): string { return this.toString(); }
}

/** A time of day in microseconds; 24:00:00 exists. */
export class PgTime {
  constructor(readonly micros: number) { whole("PgTime", micros, [0, 86_400_000_000]); }
  toString(): string { return clock(Math.floor(this.micros / 1e6), this.micros % 1e6); }
  toJSON(): string { return this.toString(); }
}

/** A timestamp: seconds since 1970-01-01 rounded down, of which 2^63-1 and -2^63 are infinite, and microseconds. */
export class PgTimestamp {
  /** @param utc whether it is a timestamptz */
  constructor(readonly seconds: bigint, readonly micros = 0, readonly utc = false) {
    whole("PgTimestamp", seconds, INT64);
    whole("PgTimestamp", micros, [0, 999_999]);
  }
  /** 1, -1, or 0 for a timestamp that is finite. */
  get infinite(): number { return extreme(this.seconds, INT64); }
  /** To the millisecond, in UTC. An invalid Date where Date does not reach. */
  toDate(): Date {
    return new Date(this.infinite ? NaN : Number(this.seconds) * 1000 + Math.floor(this.micros / 1000));
  }
  /** In the form of ISO 8601, which Postgres reads too. */
  toString(): string {
    const days = Math.floor(Number(this.seconds) / 86_400);
    const [date, era] = day(days);
    const time = clock(Number(this.seconds) - days * 86_400, this.micros);
    return INFINITY[this.infinite] ?? `${date}T${time}${this.utc ? "Z" : ""}${era}`;
  }
  toJSON(): string { return this.toString(); }
}

/** An interval as Postgres keeps it: parts that do not convert into each other. */
export class PgInterval {
  constructor(readonly months: number, readonly days: number, readonly micros: bigint) {
    whole("PgInterval", months, INT32);
    whole("PgInterval", days, INT32);
    whole("PgInterval", micros, INT64);
  }
  /** 1, -1, or 0 for an interval that is finite. */
  get infinite(): number {
    const months = extreme(this.months, INT32);
    return months === extreme(this.days, INT32) && months === extreme(this.micros, INT64) ? months : 0;
  }
  /** In a form that Postgres reads. */
  toString(): string {
    const size = this.micros < 0n ? -this.micros : this.micros;
    const time = `${this.micros < 0n ? "-" : ""}${clock(Number(size / 1_000_000n), Number(size % 1_000_000n))}`;
    return INFINITY[this.infinite] ?? `${this.months} mons ${this.days} days ${time}`;
  }
  toJSON(): string { return this.toString(); }
}

const INFINITY: Record<string, string> = { "1": "infinity", "-1": "-infinity" };

function whole<T extends number | bigint>(name: string, value: T, [least, most]: readonly [T, T]): void {
  const integer = typeof least === "bigint" ? typeof value === "bigint" : Number.isInteger(value);
  if (!integer || value < least || value > most) throw invalid(`${name}: a whole number in its range is needed`);
}

function extreme<T extends number | bigint>(value: T, [least, most]: readonly [T, T]): number {
  return value === most ? 1 : value === least ? -1 : 0;
}

/** The date, and " BC" where it belongs. The calendar repeats every 400 years, which Date reaches. */
function day(days: number): [string, string] {
  const cycles = Math.floor(days / 146_097);
  const date = new Date((days - cycles * 146_097) * 86_400_000);
  const year = date.getUTCFullYear() + cycles * 400;
  return [`${year > 0 ? year : 1 - year}`.padStart(4, "0") + date.toISOString().slice(4, 10), year > 0 ? "" : " BC"];
}

function clock(seconds: number, micros: number): string {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const fraction = micros ? `.${String(micros).padStart(6, "0")}` : "";
  return parts.map((part) => String(part).padStart(2, "0")).join(":") + fraction;
}

/** A text that UTF-8 holds. Throws UsherError CLIENT_INVALID naming its place. */
export function text(value: unknown, place: string): string {
  if (typeof value !== "string" || !value.isWellFormed()) throw invalid(`${place}: it must be well-formed text`);
  return value;
}

/** A parameter's message. Throws UsherError CLIENT_INVALID naming its place for what cannot be sent. */
export function parameter(value: unknown, place: string): { kind: Sent } | Record<string, never> {
  if (value === null) return {};
  return { kind: sent(value, place) };
}

function sent(value: unknown, place: string): Sent {
  switch (typeof value) {
    case "boolean": return { case: "boolValue", value };
    case "string": return { case: "textValue", value: text(value, place) };
    case "bigint":
      if (value < INT64[0] || value > INT64[1]) return { case: "numericValue", value: String(value) };
      return { case: "intValue", value };
    case "number":
      if (!Number.isSafeInteger(value) || Object.is(value, -0)) return { case: "floatValue", value };
      return { case: "intValue", value: BigInt(value) };
  }
  if (value instanceof Uint8Array) return { case: "bytesValue", value };
  if (value instanceof Numeric) return { case: "numericValue", value: text(value.text, place) };
  if (value instanceof PgDate) return { case: "dateValue", value: value.days };
  if (value instanceof PgTime) return { case: "timeValue", value: BigInt(value.micros) };
  if (value instanceof PgInterval) return { case: "intervalValue", value: { ...value } };
  if (value instanceof PgTimestamp) return timestamp(value.seconds, value.micros);
  if (value instanceof Json) return { case: "jsonValue", value: json(value.value, place) };
  if (value instanceof Date && !Number.isNaN(value.getTime())) {
    const seconds = Math.floor(value.getTime() / 1000);
    return timestamp(BigInt(seconds), (value.getTime() - seconds * 1000) * 1000);
  }
  if (Array.isArray(value)) {
    return { case: "arrayValue", value: { elements: value.map((item, at) => parameter(item, `${place}[${at}]`)) } };
  }
  throw invalid(`${place}: this is no value that is sent; wrap JSON in Json, and send null for NULL`);
}

function timestamp(seconds: bigint, micros: number): Sent {
  return { case: "timestampValue", value: { seconds, micros } };
}

function json(value: unknown, place: string): string {
  try {
    const made: unknown = JSON.stringify(value, (_, item: unknown) => {
      if (typeof item === "number" && !Number.isFinite(item)) throw new RangeError();
      return item;
    });
    if (typeof made === "string") return made;
  } catch { /* named below */ }
  throw invalid(`${place}: JSON does not hold this value`);
}

/** The values of a column, null for NULL. */
export function column(meta: Column, data: ColumnData, rows: number, jsonText: boolean): Value[] {
  const small = /^int[24]\b/.test(meta.typeName);
  return cells(meta.kind, meta.elementKind, data, rows, { jsonText, small });
}

function cells(
  kind: Kind, elementKind: Kind, data: ColumnData, rows: number, how: { jsonText: boolean; small: boolean },
): Value[] {
  let read = reader(kind, data, how);
  if (kind === Kind.ARRAY) {
    const lengths = data.arrays?.lengths ?? [];
    const total = lengths.reduce((sum, length) => sum + length, 0);
    const elements = total ? cells(elementKind, Kind.UNSPECIFIED, data.arrays!.elements!, total, how) : [];
    let end = 0; // rows are read in order, and the length of a NULL is 0
    read = (row) => elements.slice(end, (end += lengths[row]));
  }
  const isNull = (row: number) => data.nulls.length > 0 && (data.nulls[row >> 3] >> (row & 7)) & 1;
  return Array.from({ length: rows }, (_, row) => (isNull(row) ? null : read(row)));
}

function reader(kind: Kind, data: ColumnData, how: { jsonText: boolean; small: boolean }): (row: number) => Value {
  const { timestamps, intervals } = data;
  switch (kind) {
    case Kind.BOOL: return (row) => data.bools[row];
    case Kind.INT: return (row) => (how.small ? Number(data.ints[row]) : data.ints[row]);
    case Kind.FLOAT: return (row) => data.floats[row];
    case Kind.BYTES: return (row) => data.blobs[row];
    case Kind.UUID: return (row) => uuid(data.blobs[row]);
    case Kind.NUMERIC: return (row) => new Numeric(data.texts[row]);
    case Kind.JSON: return (row) => (how.jsonText ? data.texts[row] : (JSON.parse(data.texts[row]) as Value));
    case Kind.DATE: return (row) => new PgDate(data.dates[row]);
    case Kind.TIME: return (row) => new PgTime(Number(data.times[row]));
    case Kind.TIMESTAMP:
    case Kind.TIMESTAMPTZ:
      return (row) => new PgTimestamp(timestamps!.seconds[row], timestamps!.micros[row], kind === Kind.TIMESTAMPTZ);
    case Kind.INTERVAL:
      return (row) => new PgInterval(intervals!.months[row], intervals!.days[row], intervals!.micros[row]);
    default: return (row) => data.texts[row];
  }
}

function uuid(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** A number of units, `millis` milliseconds each, as a message. */
export function duration(name: string, value: number | undefined, millis: number): Duration | undefined {
  if (value === undefined) return undefined;
  if (!(Math.abs(value) <= 315_576_000_000_000 / millis)) throw invalid(`${name}: a number`);
  return durationFromMs(Math.round(value * millis));
}

/** Claims as JSON. Throws UsherError for what a Struct would not hold as it is. */
export function claimsObject(claims: Readonly<Record<string, unknown>>): JsonObject {
  const made = claim(claims);
  if (made === null || typeof made !== "object" || Array.isArray(made)) throw invalid("claims: they must be an object");
  return made;
}

function claim(value: unknown): JsonValue {
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "string") return text(value, "claims");
  if (typeof value === "bigint" || (typeof value === "number" && Number.isFinite(value))) {
    if (Number.isInteger(Number(value)) && !Number.isSafeInteger(Number(value))) {
      throw invalid("claims: an integer beyond 2^53 - 1 would be rounded; send it as text", "CLAIM_NOT_EXACT");
    }
    return Number(value);
  }
  if (Array.isArray(value)) return value.map(claim);
  if (typeof value === "object" && [Object.prototype, null].includes(Object.getPrototypeOf(value) as null)) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    return Object.fromEntries(entries.map(([name, item]) => [text(name, "claims"), claim(item)]));
  }
  throw invalid("claims: names are text; values are null, boolean, number, text, array or object");
}
