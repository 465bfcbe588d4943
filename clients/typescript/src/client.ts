/** The client. What all clients do is in clients/CONTRACT.md. */

import { timestampDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import { createClient, type Client as Stub } from "@connectrpc/connect";
import { inspect } from "node:util";
import { Calls } from "./calls.js";
import { KeyService, KeyState, type Key as KeyMessage } from "./gen/usher/v1/key_service_pb.js";
import { QueryService } from "./gen/usher/v1/query_service_pb.js";
import { TokenService, type IssueTokenResponse, type VerifyTokenResponse } from "./gen/usher/v1/token_service_pb.js";
import type { CallOptions, Claims, ClientOptions, TokenOptions } from "./options.js";
import { Scope, type ScopeInit } from "./scope.js";
import { connection } from "./transport.js";
import { claimsObject, duration, text } from "./values.js";

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

/** A connection to a sidecar. It is made without I/O, and serves any number of calls at once. */
export class Client {
  readonly #tokens: Stub<typeof TokenService>;
  readonly #queries: Stub<typeof QueryService>;
  readonly #keys: Stub<typeof KeyService>;
  readonly #calls: Calls;
  readonly #jsonText: boolean;
  readonly #end: () => void;

  /**
   * @param target host:port or unix:/path, or several of these with commas between, which take turns;
   *   USHER_ADDRESS or 127.0.0.1:50051 unless given
   * @throws UsherError CLIENT_INVALID, as for a key that would go to another machine in the clear
   */
  constructor(target?: string, options: ClientOptions = {}) {
    const address = target || process.env.USHER_ADDRESS || "127.0.0.1:50051";
    const [transport, end] = connection(address, options.tls ?? false, options.key, options.protocol ?? "grpc");
    [this.#calls, this.#jsonText, this.#end] = [new Calls(options), options.jsonText ?? false, end];
    this.#tokens = createClient(TokenService, transport);
    this.#queries = createClient(QueryService, transport);
    this.#keys = createClient(KeyService, transport);
  }

  /** A token for `sub`. Rejects with UsherError. */
  async issueToken(sub: string, claims: Claims = {}, options: TokenOptions & CallOptions = {}): Promise<Token> {
    const audiences = (options.audiences ?? []).map((audience) => text(audience, "audiences"));
    const ttl = duration("ttlSeconds", options.ttlSeconds, 1000);
    const request = { subject: text(sub, "sub"), claims: claimsObject(claims), audiences, ...(ttl && { ttl }) };
    const issued = await this.#calls.run(this.#tokens.issueToken, request, options, true);
    return unprinted({ token: issued.token, ...said(issued) });
  }

  /** Gives a token that is good for a while, again and again. */
  tokenSource(sub: string, claims: Claims = {}, options: TokenOptions = {}): TokenSource {
    return new TokenSource(() => this.issueToken(sub, claims, options));
  }

  /** The claims of a valid token. Rejects with UsherError of one of the TOKEN reasons. */
  async verifyToken(token: string, options: CallOptions & { audience?: string } = {}): Promise<Verified> {
    const request = { token: text(token, "token"), audience: text(options.audience ?? "", "audience") };
    const verified = await this.#calls.run(this.#tokens.verifyToken, request, options, true);
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
    return (await this.#calls.run(this.#keys.listKeys, {}, options, true)).keys.map(key);
  }

  /** Lets the prepared key sign now; on the admin address. */
  async rotateKeys(options: CallOptions & { force?: boolean } = {}): Promise<{ active: Key; retired?: Key }> {
    const rotated = await this.#calls.run(this.#keys.rotateKeys, { force: options.force ?? false }, options, false);
    return { active: key(rotated.active!), ...(rotated.retired && { retired: key(rotated.retired) }) };
  }

  /** Takes a key out of the set at once; on the admin address. */
  async revokeKey(kid: string, options: CallOptions = {}): Promise<Revoked> {
    const revoked = await this.#calls.run(this.#keys.revokeKey, { kid: text(kid, "kid") }, options, false);
    return { active: key(revoked.active!), verifiersMayAcceptUntil: moment(revoked.verifiersMayAcceptUntilTime) };
  }

  /** Ends the connection, and the calls under way with CLIENT_CLOSED. */
  close(): void {
    this.#calls.close();
    this.#end();
  }

  #scope(scope: ScopeInit): Scope {
    return new Scope(this.#queries, this.#calls, scope, this.#jsonText);
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
