// What the scenarios do not see, as they see the same of every language. USHER_ADDRESS names a live sidecar.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { inspect } from "node:util";
import { Client, Json, Numeric, PgDate, PgInterval, PgTime, PgTimestamp } from "usher-client";

const nobody = () => new Client("127.0.0.1:1", { retries: 0 });
const reason = (wanted) => (error) => error.reason === wanted || assert.fail(String(error.stack));

test("a key goes to this machine in the clear, and nowhere else", () => {
  for (const target of ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/usher.sock"]) {
    new Client(target, { key: "usher_k" }).close();
  }
  for (const target of ["example.org:1", "192.0.2.1:1", "127.example.org:1", "[::2]:1", "localhost.example.org:1"]) {
    assert.throws(() => new Client(target, { key: "usher_k" }), /key/);
    new Client(target, { key: "usher_k", tls: true }).close();
  }
});

test("what is no target, key or certificate is refused at once", () => {
  for (const target of ["dns:///x:1", "localhost", "a@b:1", "http://x:1", "x:70000", "x:1/y"]) {
    assert.throws(() => new Client(target), reason("CLIENT_INVALID"), target);
  }
  assert.throws(() => new Client("x:1", { key: "a\nb", tls: true }), reason("CLIENT_INVALID"));
  assert.throws(() => new Client("x:1", { tls: { ca: "none", cert: "none", key: "none" } }), reason("CLIENT_INVALID"));
});

test("what cannot be sent names its place", async () => {
  const json = [new Json(NaN), new Json(undefined), new Json(1n)];
  for (const value of [undefined, {}, Symbol(), "\ud800", [[Symbol()]], ...json, new Date(NaN), new Numeric(1)]) {
    const refused = nobody().asUser("a").query("SELECT $1, $2", [1, value]);
    await assert.rejects(refused, { reason: "CLIENT_INVALID", message: /parameters\[1\]/ });
  }
  for (const [Type, ...parts] of [
    [PgDate, 1.5], [PgDate, 2 ** 31], [PgTime, -1], [PgTimestamp, 1], [PgTimestamp, 0n, 1e6], [PgTimestamp, 2n ** 63n],
    [PgInterval, 0, 0, 2n ** 63n],
  ]) {
    assert.throws(() => new Type(...parts), reason("CLIENT_INVALID"));
  }
  for (const options of [{ maxRows: -1 }, { maxRows: 2 ** 32 }, { statementTimeoutMs: NaN }, { timeoutMs: NaN }]) {
    await assert.rejects(nobody().asUser("a").query("SELECT 1", [], options), reason("CLIENT_INVALID"));
  }
});

test("claims that a Struct does not hold are refused", () => {
  for (const claim of [NaN, Infinity, () => 1, new Date(), "\ud800", [Symbol()]]) {
    assert.throws(() => nobody().asUser("a", { claim }), reason("CLIENT_INVALID"));
  }
  for (const claim of [2 ** 53, 2n ** 53n, [{ n: -(2 ** 53) }]]) {
    assert.throws(() => nobody().asUser("a", { claim }), reason("CLAIM_NOT_EXACT"));
  }
});

test("claims are an object: any other would be left out", () => {
  for (const claims of [[1], "tenant", null, 5]) {
    assert.throws(() => nobody().asUser("a", claims), reason("CLIENT_INVALID"));
  }
});

test("nothing that is printed shows a key, token or claim", async () => {
  const client = new Client(undefined, { key: "secret" });
  const claims = { n: "secret" };
  const token = await client.issueToken("alice", claims);
  const verified = await client.verifyToken(token.token);
  for (const value of [client, client.asUser("secret", claims), client.withToken("secret"), token, verified,
    client.tokenSource("secret", claims)]) {
    const shown = inspect(value, { depth: 9, showHidden: true });
    assert.ok(!shown.includes("secret") && !shown.includes(token.token), shown);
  }
  assert.equal({ ...token }.token, token.token);
  client.close();
});

test("no error shows a token, claim or parameter", async () => {
  const client = nobody();
  for (const scope of [client.withToken("secret-token"), client.asUser("secret-sub", { n: "secret" })]) {
    await assert.rejects(scope.query("SELECT 'secret'", ["secret"]), (error) => {
      assert.equal(error.reason, "CLIENT_UNREACHABLE");
      return !JSON.stringify([error.stack, error, String(error.cause)]).includes("secret");
    });
  }
});

test("a socket that is not there, or is no socket, is unreachable", async () => {
  for (const target of ["unix:/nowhere/usher.sock", "unix:/dev/null", "nowhere.invalid:1"]) {
    const call = new Client(target, { retries: 0 }).issueToken("a");
    await assert.rejects(call, { reason: "CLIENT_UNREACHABLE", retryable: true });
  }
});

test("a server that takes the connection and is silent, or hangs up, does not hold a call", async () => {
  const sockets = [];
  const silent = createServer((socket) => sockets.push(socket)).listen(0, "127.0.0.1");
  const rude = createServer((socket) => socket.end("no\n")).listen(0, "127.0.0.1");
  await Promise.all([once(silent, "listening"), once(rude, "listening")]);
  const at = (server) => new Client(`127.0.0.1:${server.address().port}`, { retries: 0, timeoutMs: 500 });
  const waiting = at(silent);
  await assert.rejects(waiting.issueToken("a"), { reason: "CLIENT_DEADLINE", code: "DEADLINE_EXCEEDED" });
  await assert.rejects(at(rude).issueToken("a"), { reason: "CLIENT_UNREACHABLE", code: "UNAVAILABLE" });
  waiting.close();
  for (const socket of sockets) socket.destroy();
  silent.close();
  rude.close();
});

test("close ends the calls under way, those that wait for another try among them", async () => {
  const client = new Client();
  const calls = [client.asUser("alice").query("SELECT pg_sleep(5)"), client.issueToken("alice")];
  const retrying = new Client("127.0.0.1:1", { retries: 1000 });
  calls.push(retrying.issueToken("alice"));
  await calls[1];
  client.close();
  retrying.close();
  await assert.rejects(calls[0], { reason: "CLIENT_CLOSED", code: "CANCELLED" });
  await assert.rejects(calls[2], { reason: "CLIENT_CLOSED" });
  await assert.rejects(client.asUser("alice").query("SELECT 1"), { reason: "CLIENT_CLOSED" });
  client.close();
});

test("a signal cancels a call with its reason as cause, and its time limit is a deadline", async () => {
  const client = new Client();
  const stop = new AbortController();
  const call = client.asUser("alice").query("SELECT pg_sleep(5)", [], { signal: stop.signal });
  stop.abort("enough");
  await assert.rejects(call, { reason: "CLIENT_CANCELLED", cause: "enough" });
  await assert.rejects(client.issueToken("a", {}, { signal: stop.signal }), { reason: "CLIENT_CANCELLED" });
  const signal = AbortSignal.timeout(200);
  const late = client.asUser("alice").query("SELECT pg_sleep(5)", [], { signal });
  await assert.rejects(late, { reason: "CLIENT_DEADLINE" });
  client.close();
});

test("a token source asks again after a failure", async () => {
  const source = nobody().tokenSource("alice");
  const [one, other] = [source.token(), source.token()];
  await assert.rejects(one, reason("CLIENT_UNREACHABLE"));
  await assert.rejects(other, reason("CLIENT_UNREACHABLE"));
  await assert.rejects(source.token(), reason("CLIENT_UNREACHABLE"));
});

test("rows are views by position and name", async () => {
  const client = new Client();
  const result = await client.asUser("a").query("SELECT g AS n, g AS n, 'x' AS t FROM generate_series(1, 3) g");
  assert.deepEqual([...result].map((row) => row.toObject()), [1, 2, 3].map((n) => ({ n, t: "x" })));
  assert.deepEqual(Object.keys(result.at(0).toObject()), ["n", "t"]);
  assert.deepEqual([...result.at(-1)], [3, 3, "x"]);
  assert.equal(result.at(3), undefined);
  assert.equal(result.at(0).get(2), "x");
  assert.throws(() => result.at(0).get("missing"), RangeError);
  assert.throws(() => result.at(0).get(3), RangeError);
  client.close();
});

test("what JavaScript has and Postgres takes: Date, floats that are whole, large integers, plain text", async () => {
  const client = new Client();
  const alice = client.asUser("alice");
  const [date, uuid] = [new Date(-1), "123e4567-e89b-42d3-a456-426614174000"];
  const [row] = await alice.query(
    "SELECT $1::timestamptz, $2::float8, $3::numeric, $4::uuid, $5::int4[], $6::jsonb",
    [date, 3, 2n ** 70n, uuid, [1, null, 2n], "[1]"],
  );
  assert.deepEqual(row.get(0).toDate(), date);
  assert.deepEqual([...row].slice(1), [3, new Numeric(String(2n ** 70n)), uuid, [1, null, 2], [1]]);
  const texts = new Client(undefined, { jsonText: true });
  const [json] = await texts.asUser("alice").query("SELECT '{\"n\": 12345678901234567890}'::json, ARRAY['1'::json]");
  assert.deepEqual([...json], ['{"n": 12345678901234567890}', ["1"]]);
  client.close();
  texts.close();
});

test("the text of dates, times and intervals is what Postgres writes or reads", async () => {
  const client = new Client();
  const values = [
    ["date", ["2024-02-29", "0001-01-01", "0001-12-31 BC", "4714-11-24 BC", "5874897-12-31", "infinity", "-infinity"]],
    ["time", ["00:00:00", "23:59:59.000001", "24:00:00"]],
    ["timestamp", ["2024-02-29 12:00:00.5", "0044-03-15 01:02:03 BC", "294276-12-31 23:59:59.999999", "-infinity"]],
    ["timestamptz", ["2024-02-29 12:00:00Z", "0044-03-15 01:02:03Z BC", "294276-12-31 23:59:59.999999Z", "infinity"]],
    ["interval", ["1 year 2 mons -3 days 01:00:00.000001", "-178000000 years"]],
  ];
  for (const [type, texts] of values) {
    for (const text of texts) {
      const [row] = await client.asUser("a").query(`SELECT '${text}'::${type} AS v, '${text}'::${type}::text AS t`);
      const value = row.get("v");
      if (["date", "time"].includes(type)) assert.equal(value.toString(), row.get("t"));
      const compare = `SELECT $1::${type} = $2::${type} AND $1 = '${text}'`;
      const [same] = await client.asUser("a").query(compare, [value, String(value)]);
      assert.equal(same.get(0), true, `${type} ${text}: ${value}`);
      assert.equal(JSON.stringify(value), JSON.stringify(String(value)));
    }
  }
  assert.equal(new PgTimestamp(0n, 5, true).toString(), "1970-01-01T00:00:00.000005Z");
  assert.ok(Number.isNaN(new PgDate(2 ** 31 - 1).toDate().getTime()));
  client.close();
});
