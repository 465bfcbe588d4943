// GET /api/users answers with the rows of the user whose token the request bears. The sidecar is at USHER_ADDRESS.
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { Client, UsherError } from "usher-client";

const usher = new Client();
const app = new Hono();
const statuses: Record<string, ContentfulStatusCode> = {
  UNAUTHENTICATED: 401, INVALID_ARGUMENT: 401, PERMISSION_DENIED: 403, UNAVAILABLE: 503,
};

app.get("/api/users", async (c) => {
  const [scheme, token] = (c.req.header("Authorization") ?? "").split(" ");
  if (scheme !== "Bearer" || token === undefined) return c.json({ error: "no bearer token" }, 401);
  // No WHERE: row-level security decides whose rows there are.
  const rows = await usher.withToken(token).query("SELECT id, name, email FROM users", [], { readOnly: true });
  return c.json([...rows].map((row) => row.toObject()));
});

app.onError((error, c) => {
  if (!(error instanceof UsherError)) throw error;
  return c.json({ error: error.reason }, statuses[error.code] ?? 500);
});

const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env["PORT"] ?? 8000) }, ({ port }) =>
  console.log(`http://127.0.0.1:${port}/api/users`),
);
process.on("SIGTERM", () => server.close(() => usher.close()));
