// The official driver against the double: what it makes of answers, one JSON document on standard output.
// Usage: node driver.mjs URL CONNECTION_STRING TOKEN
import { neon, neonConfig } from "@neondatabase/serverless";

const [url, connectionString, authToken] = process.argv.slice(2);
neonConfig.fetchEndpoint = (_host, _port, options) => {
  seen.jwtAuth = options?.jwtAuth;
  return url;
};
const seen = {};
const sql = neon(connectionString, { authToken });
const full = neon(connectionString, { authToken, fullResults: true, arrayMode: true });

const refusal = async (promise) => {
  try {
    await promise;
    return null;
  } catch (error) {
    const { name, message, code, severity, constraint, table, position, routine } = error;
    return { name, message, code, severity, constraint, table, position, routine };
  }
};

// As text: JSON of a Date, a BigInt or a Buffer would say less.
const plain = (value) =>
  JSON.parse(JSON.stringify(value, (_key, item) => (typeof item === "bigint" ? `${item}n` : item)));

const values =
  "select 1::int4 as n, 9007199254740993::int8 as big, 1.50::numeric as x, true as yes, null as nothing," +
  " '{\"a\":[1,null]}'::jsonb as doc, '{1,NULL,3}'::int4[] as list, 'ü\"'::text as t, '\\x00ff'::bytea as b";

const results = {
  jwtAuth: null,
  rows: plain(await sql`select id, name from users`),
  values: plain(await sql.query(values)),
  arrays: plain(await full.query("select id, tenant_id from users where id = $1", ["alice"])),
  parameters: plain(
    await sql.query("select $1::int as n, $2::bool as yes, $3::jsonb as doc, $4::int[] as list, $5::text as t", [
      7, true, { a: 1 }, [1, null, 2], null,
    ]),
  ),
  transaction: plain(
    await sql.transaction(
      [sql`insert into notes values (1, null, ${"first"})`, sql`select body from notes`, sql`delete from notes`],
      { isolationLevel: "Serializable", fullResults: true },
    ),
  ),
  readOnly: await refusal(
    sql.transaction([sql`insert into notes values (1, null, 'x')`], { readOnly: true }),
  ),
  rolledBack: await refusal(
    sql.transaction([sql`insert into notes values (1, null, 'x')`, sql`insert into notes values (1, null, 'y')`]),
  ),
  afterRollback: plain(await sql`select count(*)::int as n from notes`),
  syntax: await refusal(sql.query("select from where")),
  badToken: await refusal(neon(connectionString, { authToken: "a.b.c" })`select 1`),
};
results.jwtAuth = seen.jwtAuth;
console.log(JSON.stringify(results));
