/** Whose rows a statement sees, and the statements. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client as Stub } from "@connectrpc/connect";
import type { Calls } from "./calls.js";
import { invalid } from "./errors.js";
import { IsolationLevel, type QueryService } from "./gen/usher/v1/query_service_pb.js";
import type { ScopeSchema, WhoAmIResponse } from "./gen/usher/v1/query_service_pb.js";
import type { CallOptions, Isolation, QueryOptions, Statement, StreamOptions, TransactionOptions } from "./options.js";
import { Result } from "./result.js";
import { RowStream } from "./stream.js";
import { duration, parameter, text, type Parameter } from "./values.js";

const LEVELS: Record<Isolation, IsolationLevel> = {
  "read committed": IsolationLevel.READ_COMMITTED,
  "repeatable read": IsolationLevel.REPEATABLE_READ,
  serializable: IsolationLevel.SERIALIZABLE,
};

export type ScopeInit = MessageInitShape<typeof ScopeSchema>;
type Text = { sql: string } | { statement: string };

/** Whose rows a statement sees. Made by Client.asUser and Client.withToken. */
export class Scope {
  readonly #queries: Stub<typeof QueryService>;
  readonly #calls: Calls;
  readonly #scope: ScopeInit;
  readonly #jsonText: boolean;

  /** @internal */
  constructor(queries: Stub<typeof QueryService>, calls: Calls, scope: ScopeInit, jsonText: boolean) {
    [this.#queries, this.#calls, this.#scope, this.#jsonText] = [queries, calls, scope, jsonText];
  }

  /** Runs one statement. Rejects with UsherError. */
  async query(sql: string, parameters: readonly Parameter[] = [], options: QueryOptions = {}): Promise<Result> {
    return this.#run({ sql }, parameters, options);
  }

  /** Runs a named statement. Rejects with UsherError. */
  async run(statement: string, parameters: readonly Parameter[] = [], options: QueryOptions = {}): Promise<Result> {
    return this.#run({ statement }, parameters, options);
  }

  /**
   * The rows of a reading statement, any number of them. Nothing is sent before the first is asked for.
   * Throws UsherError for what cannot be sent.
   */
  stream(sql: string, parameters: readonly Parameter[] = [], options: StreamOptions = {}): RowStream {
    return this.#stream({ sql }, parameters, options);
  }

  /** The rows of a named statement that reads, as of `stream`. */
  streamStatement(statement: string, parameters: readonly Parameter[] = [], options: StreamOptions = {}): RowStream {
    return this.#stream({ statement }, parameters, options);
  }

  /**
   * Runs statements one after the other in one transaction: all of them, or none. Rejects with UsherError, whose
   * `statementIndex` says which one failed.
   */
  async transaction(statements: readonly Statement[], options: TransactionOptions = {}): Promise<Result[]> {
    const { readOnly = false, isolation } = options;
    if (isolation !== undefined && !Object.hasOwn(LEVELS, isolation)) throw invalid("isolation: there is no such level");
    const request = {
      scope: this.#scope,
      statements: statements.map((one, at) => scoped(one, one.parameters ?? [], one.maxRows, `statements[${at}].`)),
      options: { readOnly, ...(isolation && { isolationLevel: LEVELS[isolation] }), ...limited(options) },
    };
    const response = await this.#calls.run(this.#queries.runScopedTransaction, request, options, readOnly);
    return response.results.map((result) => new Result(result, this.#jsonText));
  }

  /** What Postgres sees in this scope. Rejects with UsherError. */
  async whoAmI(options: CallOptions = {}): Promise<WhoAmIResponse> {
    return this.#calls.run(this.#queries.whoAmI, { scope: this.#scope }, options, true);
  }

  async #run(statement: Text, parameters: readonly Parameter[], options: QueryOptions): Promise<Result> {
    const { readOnly = false } = options;
    const { maxRows, ...sent } = scoped(statement, parameters, options.maxRows);
    const request = { ...sent, scope: this.#scope, options: { readOnly, maxRows, ...limited(options) } };
    const response = await this.#calls.run(this.#queries.runScopedQuery, request, options, readOnly);
    return new Result(response, this.#jsonText);
  }

  #stream(statement: Text, parameters: readonly Parameter[], options: StreamOptions): RowStream {
    const { maxRows, ...sent } = scoped(statement, parameters, options.maxRows);
    const request = { ...sent, scope: this.#scope, options: { maxRows: BigInt(maxRows), ...limited(options) } };
    return new RowStream(this.#calls.stream(this.#queries.streamScopedQuery, request, options), this.#jsonText);
  }
}

/** A statement as it is sent. Throws UsherError for what cannot be. */
function scoped(statement: Text, parameters: readonly Parameter[], maxRows = 0, place = "") {
  if (!(Number.isInteger(maxRows) && maxRows >= 0 && maxRows < 2 ** 32)) {
    throw invalid(`${place}maxRows: a number of rows`);
  }
  return {
    ...("sql" in statement
      ? { sql: text(statement.sql, `${place}sql`) }
      : { statement: text(statement.statement, `${place}statement`) }),
    parameters: parameters.map((value, at) => parameter(value, `${place}parameters[${at}]`)),
    maxRows,
  };
}

function limited(options: { statementTimeoutMs?: number }) {
  const statementTimeout = duration("statementTimeoutMs", options.statementTimeoutMs, 1);
  return statementTimeout && { statementTimeout };
}
