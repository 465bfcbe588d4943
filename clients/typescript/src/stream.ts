/** The rows of a statement as they come. */

import { cut } from "./errors.js";
import type { StreamScopedQueryResponse, StreamSummary as Said } from "./gen/usher/v1/query_service_pb.js";
import type { Column as Meta } from "./gen/usher/v1/values_pb.js";
import { described, Result, type Column, type Row } from "./result.js";

/** What a stream has given. */
export interface StreamSummary {
  readonly rowCount: number;
  /** Whether there were more rows than the limit. */
  readonly truncated: boolean;
  readonly commandTag: string;
}

/**
 * Rows, fetched as they are asked for; they are gone through once. Leaving the loop ends the statement in Postgres.
 * An error, which is a UsherError, comes after the rows before it.
 */
export class RowStream implements AsyncIterable<Row> {
  readonly #parts: AsyncGenerator<StreamScopedQueryResponse, void>;
  readonly #rows: AsyncGenerator<Row, void>;
  #columns: Promise<Meta[]> | undefined;
  #summary: StreamSummary | undefined;

  /** @internal */
  constructor(parts: AsyncGenerator<StreamScopedQueryResponse, void>, jsonText: boolean) {
    this.#parts = parts;
    this.#rows = this.#unpacked(jsonText);
  }

  /** The columns, before the first row. Rejects with UsherError. */
  async columns(): Promise<readonly Column[]> {
    return (await this.#begun()).map(described);
  }

  /** What was given; undefined before the end. */
  get summary(): StreamSummary | undefined {
    return this.#summary;
  }

  /** Ends a stream that is not gone through to its end. */
  async close(): Promise<void> {
    await Promise.all([this.#rows.return(), this.#parts.return()]);
  }

  [Symbol.asyncIterator](): AsyncGenerator<Row, void> {
    return this.#rows;
  }

  async *#unpacked(jsonText: boolean): AsyncGenerator<Row, void> {
    try {
      const columns = await this.#begun();
      let summary: StreamSummary | undefined;
      for await (const part of this.#parts) {
        if (part.summary) summary = said(part.summary);
        else yield* new Result({ ...part, columns }, jsonText);
      }
      if (!summary) throw cut();
      this.#summary = summary;
    } finally {
      await this.#parts.return();
    }
  }

  /** Has the call begin, once, and waits for its first message, which has the columns. */
  #begun(): Promise<Meta[]> {
    return (this.#columns ??= this.#parts.next().then((first) => {
      if (first.done) throw cut();
      return first.value.columns;
    }));
  }
}

function said({ rowCount, truncated, commandTag }: Said): StreamSummary {
  return { rowCount: Number(rowCount), truncated, commandTag };
}
