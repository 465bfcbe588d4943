/** The client. What all clients do is in clients/CONTRACT.md. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampDate, type Duration, type Timestamp } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import type { CallOptions as Sending, Client as Stub } from "@connectrpc/connect";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import { cancelled, closed, fromTransport, invalid, UsherError } from "./errors.js";
import { KeyService, KeyState, type Key as KeyMessage } from "./gen/usher/v1/key_service_pb.js";
import { QueryService, type ScopeSchema, type WhoAmIResponse } from "./gen/usher/v1/query_service_pb.js";
import { TokenService, type IssueTokenResponse, type VerifyTokenResponse } from "./gen/usher/v1/token_service_pb.js";
import { Result } from "./result.js";
import { connection } from "./transport.js";
import { claimsObject, parameter, text, type Parameter } from "./values.js";

const [FIRST_WAIT_MS, LONGEST_WAIT_MS, LONGEST_TIMEOUT_MS] = [100, 2_000, 99_999_999];

/** Custom claims: null, boolean, number, string, arrays and objects of them. */
export type Claims = Readonly<Record<string, unknown>>;

/** TLS with the system's roots (`true`), or with what is given in PEM. */
export type Tls = boolean | { ca?: string | Uint8Array; cert?: string | Uint8Array; key?: string | Uint8Array };

export interface ClientOptions {
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

export interface CallOptions {
  /** The deadline of this call. */
  timeoutMs?: number;
  /** Cancels the call. */
  signal?: AbortSignal;
}

export interface QueryOptions extends CallOptions {
  /** Runs the statement in a READ ONLY transaction, and lets the client repeat it. */
  readOnly?: boolean;
  /** Most rows to return; the result says whether there were more. */
  maxRows?: number;
  /** Longest run time in Postgres. */
  statementTimeoutMs?: number;
}

export interface TokenOptions {
  audiences?: readonly string[];
  /** The lifetime; the server's default unless given. */
  ttlSeconds?: number;
}

/** What a revocation did. */
export interface Revoked {
  readonly active: Key;
  /** A verifier with a cached set may accept the revoked key's tokens until then. */
  readonly verifiersMayAcceptUntil: Date | undefined;
}

interface Said {
  readonly claims: Claims;
  readonly kid: string;
  readonly alg: string;
  readonly jti: string;
  readonly issueTime: Date;
  readonly expireTime: Date;
}

/** A token that was issued. */
export interface Token extends Said {
  readonly token: string;
}

/** A token that was found valid. */
export interface Verified extends Said {
  readonly subject: string;
}

export interface Key {
  readonly kid: string;
  readonly alg: string;
  /** PREPARED, ACTIVE or RETIRED. */
  readonly state: string;
  readonly publishTime: Date | undefined;
  readonly activateTime: Date | undefined;
  readonly retireTime: Date | undefined;
  readonly nextStepTime: Date | undefined;
}

type ScopeInit = MessageInitShape<typeof ScopeSchema>;
type Call = <I, O>(
  method: (request: I, options: Sending) => Promise<O>, request: I, options: CallOptions, repeatable: boolean,
) => Promise<O>;

/** A connection to a sidecar. It is made without I/O, and serves any number of calls at once. */
export class Client {
  readonly #tokens: Stub<typeof TokenService>;
  readonly #queries: Stub<typeof QueryService>;
  readonly #keys: Stub<typeof KeyService>;
  readonly #options: ClientOptions;
  readonly #end: () => void;
  readonly #underWay = new Set<(why: UsherError) => void>();
  #closed = false;

  /**
   * @param target host:port or unix:/path; USHER_ADDRESS or 127.0.0.1:50051 unless given
   * @throws UsherError CLIENT_INVALID, as for a key that would go to another machine in the clear
   */
  constructor(target?: string, options: ClientOptions = {}) {
    const address = target || process.env.USHER_ADDRESS || "127.0.0.1:50051";
    const [transport, end] = connection(address, options.tls ?? false, options.key);
    [this.#options, this.#end] = [{ ...options }, end];
    this.#tokens = createClient(TokenService, transport);
    this.#queries = createClient(QueryService, transport);
    this.#keys = createClient(KeyService, transport);
  }

  /** A token for `sub`. Rejects with UsherError. */
  async issueToken(sub: string, claims: Claims = {}, options: TokenOptions & CallOptions = {}): Promise<Token> {
    const audiences = (options.audiences ?? []).map((audience) => text(audience, "audiences"));
    const ttl = duration("ttlSeconds", options.ttlSeconds, 1000);
    const request = { subject: text(sub, "sub"), claims: claimsObject(claims), audiences, ...(ttl && { ttl }) };
    const issued = await this.#call(this.#tokens.issueToken, request, options, true);
    return unprinted({ token: issued.token, ...said(issued) });
  }

  /** Gives a token that is good for a while, again and again. */
  tokenSource(sub: string, claims: Claims = {}, options: TokenOptions = {}): TokenSource {
    return new TokenSource(() => this.issueToken(sub, claims, options));
  }

  /** The claims of a valid token. Rejects with UsherError of one of the TOKEN reasons. */
  async verifyToken(token: string, options: CallOptions & { audience?: string } = {}): Promise<Verified> {
    const request = { token: text(token, "token"), audience: text(options.audience ?? "", "audience") };
    const verified = await this.#call(this.#tokens.verifyToken, request, options, true);
    return unprinted({ subject: verified.subject, ...said(verified) });
  }

  /** The scope of an end user. Throws UsherError for claims that cannot be sent. */
  asUser(sub: string, claims: Claims = {}): Scope {
    const value = { subject: text(sub, "sub"), claims: claimsObject(claims) };
    return this.#scope({ scope: { case: "principal", value } });
  }

  /** The scope of a token. */
  withToken(token: string | Token): Scope {
    const value = text(typeof token === "string" ? token : token.token, "token");
    return this.#scope({ scope: { case: "token", value } });
  }

  /** Every published key; on the admin address. */
  async listKeys(options: CallOptions = {}): Promise<Key[]> {
    return (await this.#call(this.#keys.listKeys, {}, options, true)).keys.map(key);
  }

  /** Lets the prepared key sign now; on the admin address. */
  async rotateKeys(options: CallOptions & { force?: boolean } = {}): Promise<{ active: Key; retired?: Key }> {
    const rotated = await this.#call(this.#keys.rotateKeys, { force: options.force ?? false }, options, false);
    return { active: key(rotated.active!), ...(rotated.retired && { retired: key(rotated.retired) }) };
  }

  /** Takes a key out of the set at once; on the admin address. */
  async revokeKey(kid: string, options: CallOptions = {}): Promise<Revoked> {
    const revoked = await this.#call(this.#keys.revokeKey, { kid: text(kid, "kid") }, options, false);
    return { active: key(revoked.active!), verifiersMayAcceptUntil: moment(revoked.verifiersMayAcceptUntilTime) };
  }

  /** Ends the connection, and the calls under way with CLIENT_CLOSED. */
  close(): void {
    this.#closed = true;
    for (const end of this.#underWay) end(closed());
    this.#end();
  }

  #scope(scope: ScopeInit): Scope {
    return new Scope({
      run: (statement, parameters, options) => this.#run(scope, statement, parameters, options),
      whoAmI: (options) => this.#call(this.#queries.whoAmI, { scope }, options, true),
    });
  }

  async #run(
    scope: ScopeInit, statement: Statement, parameters: readonly Parameter[], options: QueryOptions,
  ): Promise<Result> {
    const { readOnly = false, maxRows = 0 } = options;
    if (!(Number.isInteger(maxRows) && maxRows >= 0 && maxRows < 2 ** 32)) throw invalid("maxRows: a number of rows");
    const statementTimeout = duration("statementTimeoutMs", options.statementTimeoutMs, 1);
    const request = {
      ...statement,
      scope,
      parameters: parameters.map((value, at) => parameter(value, `parameters[${at}]`)),
      options: { readOnly, maxRows, ...(statementTimeout && { statementTimeout }) },
    };
    const response = await this.#call(this.#queries.runScopedQuery, request, options, readOnly);
    return new Result(response, this.#options.jsonText);
  }

  /** Runs a call within its deadline, and again where that changes nothing. */
  readonly #call: Call = async (method, request, options, repeatable) => {
    const { key, retries = 3 } = this.#options;
    const { signal, timeoutMs = this.#options.timeoutMs ?? 15_000 } = options;
    if (Number.isNaN(timeoutMs)) throw invalid("timeoutMs: a number of milliseconds");
    if (this.#closed) throw closed();
    if (signal?.aborted) throw cancelled(signal);
    const stop = new AbortController();
    const end = (why: UsherError) => stop.abort(new ConnectError("ended", Code.Canceled, {}, [], why));
    const cancel = () => signal && end(cancelled(signal));
    signal?.addEventListener("abort", cancel);
    this.#underWay.add(end);
    const ends = performance.now() + Math.min(timeoutMs, LONGEST_TIMEOUT_MS);
    try {
      for (let left = repeatable ? retries : 0, longest = FIRST_WAIT_MS; ; left -= 1) {
        try {
          const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
          const remaining = Math.max(1, Math.ceil(ends - performance.now())); // 0 would be no deadline at all
          return await method(request, { signal: stop.signal, timeoutMs: remaining, headers });
        } catch (error) {
          stop.signal.throwIfAborted();
          const failed = fromTransport(error, repeatable);
          const wait = Math.max(failed.retryDelayMs ?? 0, Math.random() * longest);
          if (left <= 0 || failed.code !== "UNAVAILABLE" || wait >= ends - performance.now()) throw failed;
          await sleep(wait, undefined, { signal: stop.signal });
          longest = Math.min(LONGEST_WAIT_MS, longest * 2);
        }
      }
    } catch (error) {
      throw stop.signal.aborted ? (stop.signal.reason as ConnectError).cause : error;
    } finally {
      signal?.removeEventListener("abort", cancel);
      this.#underWay.delete(end);
    }
  };
}

type Statement = { sql: string } | { statement: string };

interface ScopeCalls {
  run(statement: Statement, parameters: readonly Parameter[], options: QueryOptions): Promise<Result>;
  whoAmI(options: CallOptions): Promise<WhoAmIResponse>;
}

/** Whose rows a statement sees. Made by Client.asUser and Client.withToken. */
export class Scope {
  readonly #calls: ScopeCalls;

  /** @internal */
  constructor(calls: ScopeCalls) {
    this.#calls = calls;
  }

  /** Runs one statement. Rejects with UsherError. */
  async query(sql: string, parameters: readonly Parameter[] = [], options: QueryOptions = {}): Promise<Result> {
    return this.#calls.run({ sql: text(sql, "sql") }, parameters, options);
  }

  /** Runs a named statement. Rejects with UsherError. */
  async run(statement: string, parameters: readonly Parameter[] = [], options: QueryOptions = {}): Promise<Result> {
    return this.#calls.run({ statement: text(statement, "statement") }, parameters, options);
  }

  /** What Postgres sees in this scope. Rejects with UsherError. */
  async whoAmI(options: CallOptions = {}): Promise<WhoAmIResponse> {
    return this.#calls.whoAmI(options);
  }
}

/** Gives the same token until shortly before it expires. Callers at the same time share one request. */
export class TokenSource {
  readonly #issue: () => Promise<Token>;
  #token: Promise<Token> | undefined;
  #goodUntil = Infinity;

  /** @internal */
  constructor(issue: () => Promise<Token>) {
    this.#issue = issue;
  }

  /** A token. Rejects with UsherError. */
  async token(): Promise<Token> {
    if (performance.now() >= this.#goodUntil) this.#token = undefined;
    return (this.#token ??= this.#renew());
  }

  async #renew(): Promise<Token> {
    const askedAt = performance.now();
    this.#goodUntil = Infinity;
    try {
      const token = await this.#issue();
      const life = token.expireTime.getTime() - token.issueTime.getTime();
      this.#goodUntil = askedAt + life - Math.min(60_000, life / 10);
      return token;
    } catch (error) {
      this.#token = undefined;
      throw error;
    }
  }
}

function duration(name: string, value: number | undefined, millis: number): Duration | undefined {
  if (value === undefined) return undefined;
  if (!(Math.abs(value) <= 315_576_000_000_000 / millis)) throw invalid(`${name}: a number`);
  return durationFromMs(Math.round(value * millis));
}

function moment(time: Timestamp | undefined): Date | undefined {
  return time && timestampDate(time);
}

function said(token: IssueTokenResponse | VerifyTokenResponse): Said {
  const { claims = {}, kid, alg, jti } = token;
  return { claims, kid, alg, jti, issueTime: timestampDate(token.issueTime!), expireTime: timestampDate(token.expireTime!) };
}

/** The same, of which console.log shows neither the token nor its claims. */
function unprinted<T extends Said>(token: T): T {
  const { kid, jti, expireTime } = token;
  return Object.defineProperty(token, inspect.custom, { value: () => ({ kid, jti, expireTime }) });
}

function key(message: KeyMessage): Key {
  const { kid, alg, publishTime, activateTime, retireTime, nextStepTime } = message;
  return {
    kid,
    alg,
    state: KeyState[message.state],
    publishTime: moment(publishTime),
    activateTime: moment(activateTime),
    retireTime: moment(retireTime),
    nextStepTime: moment(nextStepTime),
  };
}
