/** The rows of a statement. */

import { Kind, type Column as Meta } from "./gen/usher/v1/values_pb.js";
import type { RunScopedQueryResponse } from "./gen/usher/v1/query_service_pb.js";
import { column, type Value } from "./values.js";

/** A column of a result; the kinds as in values.proto, without their prefix. */
export interface Column {
  readonly name: string;
  readonly typeName: string;
  readonly kind: string;
  /** Of an array: the kind of its elements. */
  readonly elementKind: string | undefined;
}

/** A view of one row: by position, or by name; of columns with the same name the first. */
export class Row implements Iterable<Value> {
  readonly #result: Result;
  readonly #at: number;

  constructor(result: Result, at: number) {
    [this.#result, this.#at] = [result, at];
  }

  /** The value of a column. Throws RangeError when there is no such column. */
  get<T extends Value = Value>(column: number | string): T {
    const position = typeof column === "string" ? this.#result.names.get(column) : column;
    const values = this.#result.data[position ?? -1];
    if (values === undefined) throw new RangeError("there is no such column");
    return values[this.#at] as T;
  }

  /** The values by column name. */
  toObject(): Record<string, Value> {
    return Object.fromEntries([...this.#result.names].map(([name, at]) => [name, this.get(at)]));
  }

  *[Symbol.iterator](): Generator<Value, void> {
    for (const values of this.#result.data) yield values[this.#at];
  }
}

type Columns = Pick<RunScopedQueryResponse, "columns" | "data" | "rowCount">;
type Rest = Partial<Pick<RunScopedQueryResponse, "truncated" | "commandTag" | "affectedRows">>;

/** The rows of a statement, kept as columns. */
export class Result implements Iterable<Row> {
  readonly columns: readonly Column[];
  /** The values, an array for each column. */
  readonly data: readonly (readonly Value[])[];
  /** Column names with their positions, in the order of the columns. */
  readonly names: ReadonlyMap<string, number>;
  /** The number of rows. */
  readonly length: number;
  /** Whether there were more rows than the limit. */
  readonly truncated: boolean;
  readonly commandTag: string;
  readonly affectedRows: bigint;

  constructor(response: Columns & Rest, jsonText: boolean) {
    this.columns = response.columns.map(described);
    this.data = response.columns.map((meta, at) => column(meta, response.data[at], response.rowCount, jsonText));
    const names = new Map<string, number>();
    this.columns.forEach(({ name }, at) => names.has(name) || names.set(name, at));
    this.names = names;
    this.length = response.rowCount;
    this.truncated = response.truncated ?? false;
    this.commandTag = response.commandTag ?? "";
    this.affectedRows = response.affectedRows ?? 0n;
  }

  /** The row at a position, from the end when it is negative. */
  at(position: number): Row | undefined {
    const at = position < 0 ? position + this.length : position;
    return at >= 0 && at < this.length ? new Row(this, at) : undefined;
  }

  *[Symbol.iterator](): Generator<Row, void> {
    for (let at = 0; at < this.length; at += 1) yield new Row(this, at);
  }
}

/** A column as users see it. */
export function described({ name, typeName, kind, elementKind }: Meta): Column {
  return { name, typeName, kind: Kind[kind], elementKind: elementKind ? Kind[elementKind] : undefined };
}
