// Issues a token at the Usher given as argument, runs one query in its scope, and prints a JSON line with
// what came back. It is how the tests know that the TypeScript stubs work against a real sidecar.
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { QueryService } from "../src/gen/usher/v1/query_service_pb.js";
import { TokenService } from "../src/gen/usher/v1/token_service_pb.js";

const [address] = process.argv.slice(2);
if (address === undefined) {
  console.error("usage: node smoke.mjs HOST:PORT");
  process.exit(2);
}

// An idle connection would keep the process alive; close it soon after the last answer.
const transport = createGrpcTransport({
  baseUrl: `http://${address}`,
  defaultTimeoutMs: 30_000,
  idleConnectionTimeoutMs: 100,
});

const issued = await createClient(TokenService, transport).issueToken({
  subject: "alice",
  claims: { tenant_id: "acme" },
});
const result = await createClient(QueryService, transport).runScopedQuery({
  scope: { scope: { case: "token", value: issued.token } },
  sql: "select name from users where id = $1",
  parameters: [{ kind: { case: "textValue", value: "alice" } }],
});
if (result.data.length !== 1) {
  throw new Error(`expected one column, got ${result.data.length}`);
}
const rows = result.data[0].texts.map((name) => [name]);
console.log(JSON.stringify({ kid: issued.kid, alg: issued.alg, rows }));
