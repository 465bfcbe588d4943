// Runs scenarios through the TypeScript client: one JSON request a line in, one JSON answer a line out.
// clients/CONTRACT.md describes both.
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import * as usher from "usher-client";

const FORGOTTEN = new Set(["iat", "exp", "nbf", "jti", "iss"]);
const INFINITE_DATE = { infinity: 2 ** 31 - 1, "-infinity": -(2 ** 31) };
const INFINITE_TIMESTAMP = { infinity: 2n ** 63n - 1n, "-infinity": -(2n ** 63n) };
const [clients, tokens, sources] = [new Map(), new Map(), new Map()];
const milliseconds = (seconds) => seconds && seconds * 1000;

const verbs = {
  async connect({ client, target, ca, cert, private_key, key, retries, protocol }) {
    const tls = ca !== undefined && { ca, cert, key: private_key };
    clients.set(client, new usher.Client(target, { tls, key, retries, protocol }));
    return { ok: true };
  },

  async close({ client }) {
    clients.get(client).close();
    return { ok: true };
  },

  async query(request) {
    const stop = new AbortController();
    if ("cancel_after" in request) setTimeout(() => stop.abort(), milliseconds(request.cancel_after));
    const options = {
      readOnly: request.read_only,
      maxRows: request.max_rows,
      statementTimeoutMs: milliseconds(request.statement_timeout),
      timeoutMs: milliseconds(request.timeout),
      signal: stop.signal,
    };
    const scope = scopeOf(request);
    const parameters = (request.params ?? []).map(native);
    const result =
      "statement" in request
        ? await scope.run(request.statement, parameters, options)
        : await scope.query(request.sql, parameters, options);
    return resultOf(result);
  },

  async stream(request) {
    const options = {
      maxRows: request.max_rows,
      statementTimeoutMs: milliseconds(request.statement_timeout),
      timeoutMs: milliseconds(request.timeout),
    };
    const scope = scopeOf(request);
    const parameters = (request.params ?? []).map(native);
    const rows = [];
    try {
      const stream =
        "statement" in request
          ? scope.streamStatement(request.statement, parameters, options)
          : scope.stream(request.sql, parameters, options);
      const columns = await stream.columns();
      for await (const row of stream) {
        rows.push(rowOf(row, columns));
        if (rows.length === request.stop_after) return { rows, stopped: true };
      }
      const { rowCount, truncated, commandTag } = stream.summary;
      const summary = { row_count: rowCount, truncated, command_tag: commandTag };
      return { columns: columns.map(columnOf), rows, summary };
    } catch (error) {
      return { rows, ...failure(error) };
    }
  },

  async transaction(request) {
    const statements = request.statements.map(({ params = [], max_rows: maxRows, ...statement }) => {
      return { ...statement, parameters: params.map(native), maxRows };
    });
    const results = await scopeOf(request).transaction(statements, {
      isolation: request.isolation,
      readOnly: request.read_only,
      statementTimeoutMs: milliseconds(request.statement_timeout),
      timeoutMs: milliseconds(request.timeout),
    });
    return { results: results.map(resultOf) };
  },

  async issue({ client, sub, claims, audiences, ttl, save }) {
    const token = await clients.get(client).issueToken(sub, claims, { audiences, ttlSeconds: ttl });
    tokens.set(save, token);
    const lifetime = (token.expireTime - token.issueTime) / 1000;
    return { token: { alg: token.alg, lifetime, kid_length: token.kid.length } };
  },

  async source({ client, source: name, sub, claims, ttl, calls, parallel, pause = 0 }) {
    if (!sources.has(name)) sources.set(name, clients.get(client).tokenSource(sub, claims, { ttlSeconds: ttl }));
    const source = sources.get(name);
    const got = parallel ? await Promise.all(Array.from({ length: calls }, () => source.token())) : [];
    while (got.length < calls) {
      got.push(await source.token());
      await sleep(milliseconds(pause));
    }
    return { distinct: new Set(got.map((token) => token.token)).size };
  },

  async verify({ client, saved, token, audience }) {
    const verified = await clients.get(client).verifyToken(token ?? tokens.get(saved).token, { audience });
    return { claims: Object.fromEntries(Object.entries(verified.claims).filter(([name]) => !FORGOTTEN.has(name))) };
  },

  async whoami(request) {
    const seen = await scopeOf(request).whoAmI();
    return { role: seen.role, user_id: seen.userId ?? null, backend_kind: seen.backendKind };
  },

  async keys({ client }) {
    const keys = await clients.get(client).listKeys();
    return { states: counted(keys.map((key) => key.state.toLowerCase())) };
  },

  async many({ client, count, request }) {
    const answers = await Promise.all(Array.from({ length: count }, () => answer({ client, ...request })));
    const counts = Object.entries(counted(answers.map((one) => JSON.stringify(one))));
    return { answers: counts.sort((a, b) => b[1] - a[1]).map(([text, times]) => [JSON.parse(text), times]) };
  },
};

function scopeOf({ client: name, scope }) {
  const client = clients.get(name);
  if ("saved" in scope) return client.withToken(tokens.get(scope.saved));
  return "token" in scope ? client.withToken(scope.token) : client.asUser(scope.sub, scope.claims);
}

function resultOf(result) {
  return {
    columns: result.columns.map(columnOf),
    rows: [...result].map((row) => rowOf(row, result.columns)),
    truncated: result.truncated,
    command_tag: result.commandTag,
    affected_rows: Number(result.affectedRows),
  };
}

function columnOf({ name, typeName, kind }) {
  return [name, typeName, kind];
}

function rowOf(row, columns) {
  return columns.map((column, at) => shown(row.get(at), column.kind, column.elementKind));
}

function counted(names) {
  const counts = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

async function answer(request) {
  if (!Object.hasOwn(verbs, request.do)) return { unsupported: true };
  try {
    return await verbs[request.do](request);
  } catch (error) {
    return failure(error);
  }
}

function failure(error) {
  if (!(error instanceof usher.UsherError)) throw error;
  const { code, reason, sqlstate = null, retryable, fields, statementIndex: statement_index } = error;
  return { error: { code, reason, sqlstate, retryable, fields: Object.keys(fields).sort(), statement_index } };
}

/** A value of the protocol as the client's native one. */
function native(value) {
  if (value === null) return null;
  const [[kind, content]] = Object.entries(value);
  switch (kind) {
    case "int": return BigInt(content);
    case "float": return Buffer.from(content, "hex").readDoubleBE();
    case "bytes": return Buffer.from(content, "hex");
    case "numeric": return new usher.Numeric(content);
    case "date": return new usher.PgDate(INFINITE_DATE[content] ?? days(content));
    case "time": return new usher.PgTime(Number.isInteger(content) ? content : micros(content));
    case "timestamp":
    case "timestamptz":
      return moment(content, kind === "timestamptz");
    case "interval": return new usher.PgInterval(content[0], content[1], BigInt(content[2]));
    case "json": return new usher.Json(JSON.parse(content));
    case "array": return content.map(native);
    default: return content; // bool, text, other, and uuid, which is text in this language
  }
}

function days(content) {
  return Number.isInteger(content) ? content : Date.parse(content) / 86_400_000;
}

function micros(time) {
  const [hours, minutes, seconds, fraction = "0"] = time.split(/[:.]/);
  return (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1e6 + Number(fraction);
}

function moment(content, utc) {
  if (content in INFINITE_TIMESTAMP) return new usher.PgTimestamp(INFINITE_TIMESTAMP[content], 0, utc);
  if (Array.isArray(content)) return new usher.PgTimestamp(BigInt(content[0]), content[1], utc);
  const [date, time] = content.replace("Z", "").split("T");
  const within = micros(time);
  return new usher.PgTimestamp(BigInt(Date.parse(date) / 1000 + Math.floor(within / 1e6)), within % 1e6, utc);
}

/** A native value as the protocol's. */
function shown(value, kind, elementKind) {
  if (value === null) return null;
  return { [kind.toLowerCase()]: content(value, kind, elementKind) };
}

function content(value, kind, elementKind) {
  switch (kind) {
    case "BOOL": return value;
    case "FLOAT": {
      const bits = Buffer.alloc(8);
      bits.writeDoubleBE(value);
      return bits.toString("hex");
    }
    case "BYTES": return Buffer.from(value).toString("hex");
    case "DATE": return value.infinite || near(value) ? value.toString() : value.days;
    case "TIME": return value.micros < 86_400_000_000 ? value.toString() : value.micros;
    case "TIMESTAMP":
    case "TIMESTAMPTZ":
      return value.infinite || near(value) ? value.toString() : [Number(value.seconds), value.micros];
    case "INTERVAL": return [value.months, value.days, Number(value.micros)];
    case "JSON": return JSON.stringify(value);
    case "ARRAY": return value.map((item) => shown(item, elementKind));
    default: return String(value);
  }
}

function near(value) {
  const year = value.toDate().getUTCFullYear();
  return year >= 1 && year <= 9999;
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
for (const client of clients.values()) client.close();
