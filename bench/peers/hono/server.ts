// The stack of Neon's guide for the same work: Hono, jose and pg on Node. Usage: node build/server.js DSN
//
// Written as someone would who wants it fast: one key object for all tokens, a pool that is as large as Usher's,
// named prepared statements, role and claims in one statement, rows as arrays, no conversion of what JSON can
// carry as text. Callers prove who they are by a bearer key. There is no policy, no audit, no metrics, and
// claims are believed as they are: that is the guide's stack.
import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { calculateJwkThumbprint, exportJWK, generateKeyPair, jwtVerify, SignJWT, type JWTPayload } from "jose";
import pg from "pg";

type Claims = Record<string, unknown>;
type Query = { subject?: string; claims?: Claims; token?: string } & Statement & { statements?: Statement[] };
type Statement = { sql: string; parameters?: unknown[]; readOnly?: boolean };

const ISSUER = "https://issuer.example";
const asText = (value: string) => value;
for (const oid of [pg.types.builtins.TIMESTAMPTZ, pg.types.builtins.NUMERIC, pg.types.builtins.INT8]) {
  pg.types.setTypeParser(oid, asText);
}
const pool = new pg.Pool({ connectionString: process.argv[2], max: 8, min: 8 });
const expected = createHash("sha256").update(process.env.BENCH_KEY ?? "").digest();

async function makeKey(algorithm: "ES256" | "RS256") {
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { modulusLength: 2048 });
  const jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(jwk);
  return { privateKey, publicKey, kid, jwk: { ...jwk, kid, alg: algorithm, use: "sig" } };
}
const keys = { ES256: await makeKey("ES256"), RS256: await makeKey("RS256") };
const jwks = { keys: Object.values(keys).map((key) => key.jwk) };

async function issue(algorithm: "ES256" | "RS256", subject: string, claims: Claims, seconds: number) {
  const now = Math.floor(Date.now() / 1000);
  const payload = { ...claims, iss: ISSUER, sub: subject, iat: now, exp: now + seconds, jti: randomUUID() };
  const key = keys[algorithm];
  const token = await new SignJWT(payload)
    .setProtectedHeader({ alg: algorithm, kid: key.kid, typ: "JWT" })
    .sign(key.privateKey);
  return { token, kid: key.kid, alg: algorithm, jti: payload.jti, issueTime: now, expireTime: payload.exp, claims: payload };
}

async function verify(token: string): Promise<JWTPayload> {
  const options = { issuer: ISSUER, algorithms: ["ES256", "RS256"] };
  const of = (alg: string | undefined) => (alg === "RS256" ? keys.RS256 : keys.ES256).publicKey;
  return (await jwtVerify(token, (header: { alg?: string }) => of(header.alg), options)).payload;
}

const names = new Map<string, string>();
function named(text: string): string {
  let name = names.get(text);
  if (name === undefined) {
    name = `s${names.size}`;
    names.set(text, name);
  }
  return name;
}

const ENTER = {
  name: "enter",
  text: "SELECT set_config('role', $1, true), set_config('request.jwt.claims', $2, true), set_config('statement_timeout', $3, true)",
};

async function scoped(claims: Claims, statements: Statement[]) {
  const client = await pool.connect();
  try {
    await client.query(statements.every((one) => one.readOnly) ? "BEGIN READ ONLY" : "BEGIN");
    await client.query({ ...ENTER, values: ["authenticated", JSON.stringify(claims), "30000"] });
    const results = [];
    for (const one of statements) {
      const got = await client.query({
        name: named(one.sql),
        text: one.sql,
        values: one.parameters ?? [],
        rowMode: "array",
      });
      results.push({
        columns: got.fields.map((field) => ({ name: field.name, type: field.dataTypeID })),
        rows: got.rows,
        rowCount: got.rowCount,
        command: got.command,
      });
    }
    await client.query("COMMIT");
    client.release();
    return results;
  } catch (error) {
    client.release(error as Error);
    throw error;
  }
}

async function claimsOf(query: Query): Promise<Claims> {
  if (query.token !== undefined) {
    return await verify(query.token);
  }
  const now = Math.floor(Date.now() / 1000);
  return { ...query.claims, iss: ISSUER, sub: query.subject, iat: now, exp: now + 300, jti: randomUUID() };
}

const app = new Hono();
app.get("/.well-known/jwks.json", (context) => {
  context.header("cache-control", "public, max-age=300");
  return context.json(jwks);
});
app.use("*", async (context, next) => {
  const key = context.req.header("authorization")?.slice("Bearer ".length) ?? "";
  if (!timingSafeEqual(createHash("sha256").update(key).digest(), expected)) {
    return context.json({ error: "who calls is not known" }, 401);
  }
  await next();
});
app.post("/issue", async (context) => {
  const { alg, subject, claims, ttl } = await context.req.json();
  return context.json(await issue(alg, subject, claims, ttl ?? 300));
});
app.post("/verify", async (context) => {
  const { token } = await context.req.json();
  const claims = await verify(token);
  return context.json({ claims, subject: claims.sub, jti: claims.jti });
});
app.post("/query", async (context) => {
  const query = await context.req.json<Query>();
  return context.json((await scoped(await claimsOf(query), [query]))[0]);
});
app.post("/transaction", async (context) => {
  const query = await context.req.json<Query>();
  return context.json(await scoped(await claimsOf(query), query.statements ?? []));
});
app.onError((error, context) => context.json({ error: error.name }, 500));

const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, (address) => {
  console.log(`listening 127.0.0.1:${address.port}`);
});
process.on("SIGTERM", () => {
  server.close();
  void pool.end().then(() => process.exit(0));
});
