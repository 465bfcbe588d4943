// What the scenarios do not see of streams and transactions. USHER_ADDRESS and USHER_CONNECT_ADDRESS name a live sidecar.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { Client } from "usher-client";

// 32 MB, and when Postgres made each row.
const MANY = "SELECT clock_timestamp() AS made, repeat('x', 32000) FROM generate_series(1, 1000)";

/** The iterator of a stream that has begun. */
async function begun(stream) {
  const rows = stream[Symbol.asyncIterator]();
  await rows.next();
  return rows;
}

async function end(rows) {
  let count = 0;
  for await (const _ of rows) count += 1;
  return count;
}

async function holdsUp(alice) {
  const stream = alice.stream(MANY);
  const slow = await begun(stream);
  await end(await begun(alice.stream(MANY))); // in this time the first would have come, too
  const [now] = await alice.query("SELECT clock_timestamp()");
  let before = 0;
  for await (const row of slow) before += row.get("made").toDate() < now.get(0).toDate();
  assert.ok(before > 0 && before < 500, `${before} of 1000 were made ahead`);
  return stream;
}

test("a stream that is not read holds Postgres up", async () => {
  const client = new Client();
  const stream = await holdsUp(client.asUser("alice"));
  assert.deepEqual(stream.summary, { rowCount: 1000, truncated: false, commandTag: "SELECT 1000" });
  client.close();
});

test("streams that are not read do not hold up other calls of their client", async () => {
  const client = new Client();
  const alice = client.asUser("alice");
  const streams = Array.from({ length: 4 }, () => alice.stream(MANY, [], { timeoutMs: 30_000 }));
  await Promise.all(streams.map(begun));
  for (let count = 0; count < 4; count += 1) await alice.query("SELECT repeat('x', 1000000)");
  for (const stream of streams) {
    await stream.close();
    assert.equal(await end(stream), 0);
    assert.equal(stream.summary, undefined);
  }
  client.close();
});

test("a stream has a deadline of its own, and ends with its signal and its client", async () => {
  const client = new Client(undefined, { timeoutMs: 200 });
  const alice = client.asUser("alice");
  assert.equal(await end(alice.stream("SELECT pg_sleep(0.4)")), 1);
  const hasty = await begun(alice.stream(MANY, [], { timeoutMs: 300 }));
  await alice.query("SELECT pg_sleep(0.4)", [], { timeoutMs: 15_000 });
  await assert.rejects(end(hasty), { reason: "CLIENT_DEADLINE" });
  const stop = new AbortController();
  const stopped = await begun(alice.stream(MANY, [], { signal: stop.signal }));
  stop.abort("enough");
  await assert.rejects(end(stopped), { reason: "CLIENT_CANCELLED", cause: "enough" });
  const unread = await begun(alice.stream(MANY));
  client.close();
  await assert.rejects(end(unread), { reason: "CLIENT_CLOSED" });
  await assert.rejects(alice.stream("SELECT 1").columns(), { reason: "CLIENT_CLOSED" });
});

test("nothing is sent for a stream that nobody asks, and one that failed fails once", async () => {
  const client = new Client();
  const alice = client.asUser("alice");
  await alice.stream("SELECT 1 FROM nowhere").close();
  const stream = alice.stream("SELECT 1 / (3 - g) AS n FROM generate_series(1, 9) g");
  assert.deepEqual((await stream.columns()).map((column) => column.name), ["n"]);
  const got = [];
  await assert.rejects(async () => {
    for await (const row of stream) got.push(row.get("n"));
  }, { reason: "DATA_EXCEPTION", sqlstate: "22012" });
  assert.deepEqual(got, [0, 1]);
  assert.equal(await end(stream), 0);
  const refused = alice.stream("SELECT 1 FROM nowhere");
  await assert.rejects(refused.columns(), { reason: "UNDEFINED_OBJECT" });
  await assert.rejects(end(refused), { reason: "UNDEFINED_OBJECT" });
  client.close();
});

test("a program does not wait for the deadline of a stream that it left", async () => {
  const program = `
    import { Client } from "usher-client";
    const client = new Client();
    for await (const _ of client.asUser("alice").stream("SELECT generate_series(1, 1000000)")) break;
    client.close();
  `;
  await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], { timeout: 60_000 });
});

test("what cannot be sent in a transaction or a stream is named with its place", async () => {
  const client = new Client();
  const alice = client.asUser("alice");
  const [one, bad] = [{ sql: "SELECT 1" }, { statement: "name", parameters: [1, Symbol()] }];
  await assert.rejects(alice.transaction([one, bad]), { reason: "CLIENT_INVALID", message: /statements\[1\]\.parameters\[1\]/ });
  await assert.rejects(alice.transaction([one, { ...one, maxRows: -1 }]), { message: /statements\[1\]\.maxRows/ });
  await assert.rejects(alice.transaction([one], { isolation: "toString" }), { message: /isolation/ });
  assert.throws(() => alice.stream("SELECT $1", [Symbol()]), { reason: "CLIENT_INVALID", message: /parameters\[0\]/ });
  assert.throws(() => alice.stream("SELECT 1", [], { maxRows: -1 }), { reason: "CLIENT_INVALID" });
  await assert.rejects(alice.stream("SELECT 1", [], { timeoutMs: NaN }).columns(), { reason: "CLIENT_INVALID" });
  client.close();
});

test("by Connect a stream holds Postgres up, too, and leaving it and closing the client end it", async () => {
  const client = new Client(process.env.USHER_CONNECT_ADDRESS, { protocol: "connect" });
  const alice = client.asUser("alice");
  await holdsUp(alice);
  for (let count = 0; count < 8; count += 1) {
    for await (const _ of alice.stream(MANY)) break; // more than the sidecar has room for at a time
  }
  const unread = await begun(alice.stream(MANY));
  client.close();
  await assert.rejects(end(unread), { reason: "CLIENT_CLOSED" });
  await assert.rejects(alice.query("SELECT 1"), { reason: "CLIENT_CLOSED" });
});

test("what has no Connect is unimplemented, and a protocol that is none is refused", async () => {
  const client = new Client(process.env.USHER_CONNECT_ADDRESS, { protocol: "connect" });
  await assert.rejects(client.listKeys(), { reason: "CLIENT_OTHER", code: "UNIMPLEMENTED" });
  client.close();
  assert.throws(() => new Client("127.0.0.1:1", { protocol: "http" }), { reason: "CLIENT_INVALID", message: /protocol/ });
});
