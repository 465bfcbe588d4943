/** The connections to a sidecar, by TCP or a Unix socket, plain or with TLS: one by gRPC, some by Connect. */

import { createConnectTransport, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { Transport } from "@connectrpc/connect";
import * as http from "node:http";
import * as https from "node:https";
import * as net from "node:net";
import * as tls from "node:tls";
import { invalid } from "./errors.js";
import type { Protocol, Tls } from "./options.js";
import { Peer, Turns, unreached } from "./turns.js";

const CONNECT_MS = 5_000;

/** The transport to a target, and what ends its connections. Throws UsherError CLIENT_INVALID. */
export function connection(
  target: string, security: Tls, key: string | undefined, protocol: Protocol,
): [Transport, () => void] {
  const addresses = several(target.split(",").map(parsed), security);
  if (key !== undefined && !/^[\x21-\x7e]+$/.test(key)) throw invalid("key: it holds characters that no key has");
  if (key !== undefined && !security && !addresses.every(([, address]) => isLocal(address))) {
    throw invalid("key: it is sent to another machine by TLS only; set tls");
  }
  if (!["grpc", "connect"].includes(protocol)) throw invalid('protocol: "grpc" or "connect"');
  const alpn = protocol === "grpc" ? "h2" : "http/1.1";
  const secureContext = security && context(security);
  const ready = security ? "secureConnect" : "connect";
  const peers = addresses.map(([authority, address]) => {
    const connect = secureContext ? secured(address, secureContext, alpn) : () => net.connect(address);
    const createConnection = () => limited(connect(), ready);
    const baseUrl = `${security ? "https" : "http"}://${authority}`;
    const made = protocol === "grpc" ? byGrpc(baseUrl, createConnection) : byConnect(baseUrl, createConnection, security);
    return new Peer(...made, createConnection, ready);
  });
  const [only] = peers;
  return [peers.length === 1 ? only!.transport : new Turns(peers), () => peers.forEach((peer) => peer.end())];
}

type Address = net.TcpNetConnectOpts | net.IpcNetConnectOpts;

/** The addresses, if they are one, or several that go together. */
function several(addresses: [string, Address][], security: Tls): [string, Address][] {
  const kinds = addresses.map(([, address]) => {
    const host = "path" in address ? "unix" : (address.host ?? "");
    return security || !net.isIP(host) ? host : net.isIP(host);
  });
  const named = addresses.some(([, address]) => !("path" in address) && !net.isIP(address.host ?? ""));
  if (addresses.length > 1 && (named || new Set(kinds).size > 1)) {
    throw invalid("target: several are all IPv4, all IPv6 or all Unix sockets, without names; by TLS all of one IP address");
  }
  return addresses;
}

function byGrpc(baseUrl: string, createConnection: () => net.Socket): [Transport, () => void] {
  const pings = { pingIntervalMs: 60_000, pingTimeoutMs: 20_000 };
  const sessionManager = new Http2SessionManager(baseUrl, pings, {
    createConnection,
    maxSessionMemory: 1024, // MB; of the usual 10 a few large results would have new calls refused
  });
  return [createGrpcTransport({ baseUrl, sessionManager }), () => sessionManager.abort()];
}

function byConnect(baseUrl: string, createConnection: () => net.Socket, security: Tls): [Transport, () => void] {
  const agent = new (security ? https : http).Agent({ keepAlive: true });
  Object.assign(agent, { createConnection });
  return [createConnectTransport({ baseUrl, httpVersion: "1.1", nodeOptions: { agent } }), () => agent.destroy()];
}

function parsed(target: string): [string, Address] {
  if (target.startsWith("unix:")) return ["localhost", { path: target.slice(5).replace(/^\/\/(?=\/)/, "") }];
  const found = /^(?:\[([\da-f:.]+)\]|([^\s:/?#@[\]]+)):(\d{1,5})$/i.exec(target);
  if (!found || !URL.canParse(`http://${target}`)) throw invalid("target: write host:port or unix:/path, or several with commas between");
  const url = new URL(`http://${target}`);
  return [url.host, { host: url.hostname.replace(/[[\]]/g, ""), port: Number(found[3]) }];
}

function isLocal(address: Address): boolean {
  if ("path" in address) return true;
  const host = address.host ?? "";
  return host === "localhost" || host === "::1" || (net.isIPv4(host) && host.startsWith("127."));
}

function context(security: Exclude<Tls, false>): tls.SecureContext {
  try {
    const { ca, cert, key } = security === true ? {} : security;
    const pem = (name: string, octets?: string | Uint8Array) => octets && { [name]: Buffer.from(octets as string) };
    const given = { ...pem("ca", ca), ...pem("cert", cert), ...pem("key", key) };
    return tls.createSecureContext({ minVersion: "TLSv1.2", ...given });
  } catch {
    throw invalid("tls: ca, cert and key must be PEM, and cert and key a pair");
  }
}

function secured(address: Address, secureContext: tls.SecureContext, alpn: string) {
  const host = "path" in address ? "localhost" : (address.host ?? "");
  const servername = net.isIP(host) ? {} : { servername: host };
  const options = { ...address, ...servername, secureContext, ALPNProtocols: [alpn], rejectUnauthorized: true };
  return () => tls.connect(options);
}

/** The socket, given up when it is not ready in time: the next call tries anew. */
function limited<S extends net.Socket>(socket: S, ready: string): S {
  const late = Object.assign(new Error("no connection in time"), { code: "ETIMEDOUT" });
  const timer = setTimeout(() => socket.destroy(late), CONNECT_MS).unref();
  const failed = (error: Error) => unreached.add(error);
  socket.once("error", failed).once(ready, () => socket.off("error", failed));
  for (const event of [ready, "close"]) socket.once(event, () => clearTimeout(timer));
  return socket;
}
