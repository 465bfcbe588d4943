/** Several sidecars that take turns. One that cannot be reached is left out until it can be again. */

import { ConnectError, type Transport } from "@connectrpc/connect";
import type * as net from "node:net";

const [FIRST_WAIT_MS, LONGEST_WAIT_MS] = [100, 2_000];

/** Why connections were not made: what was to go by them has not been sent. */
export const unreached = new WeakSet<object>();

/** A sidecar, and the connections to it. */
export class Peer {
  /** Whether it could not be reached when that was last tried. */
  away = false;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  /** @param ready the event of a socket that is connected */
  constructor(
    readonly transport: Transport,
    readonly close: () => void,
    readonly createConnection: () => net.Socket,
    readonly ready: string,
  ) {}

  /** Leaves it out until a connection to it is made. */
  leave(): void {
    if (this.away) return;
    this.away = true;
    this.#try(FIRST_WAIT_MS);
  }

  #try(waitMs: number): void {
    if (this.#ended) return;
    this.#timer = setTimeout(() => {
      const socket = this.createConnection().unref();
      socket.once("error", () => this.#try(Math.min(LONGEST_WAIT_MS, 2 * waitMs)));
      socket.once(this.ready, () => {
        this.away = false;
        socket.destroy();
      });
    }, waitMs).unref();
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.close();
  }
}

/** A transport by which each call goes to the next peer. */
export class Turns implements Transport {
  readonly #peers: readonly Peer[];
  #next = 0;

  constructor(peers: readonly Peer[]) {
    this.#peers = peers;
  }

  readonly unary: Transport["unary"] = (...call) => this.#sent((transport) => transport.unary(...call));

  readonly stream: Transport["stream"] = async (method, signal, timeoutMs, header, input, values) => {
    const messages: never[] = [];
    for await (const message of input) messages.push(message as never); // one, where only the answer is a stream
    const again = async function* () { yield* messages; };
    return this.#sent((transport) => transport.stream(method, signal, timeoutMs, header, again(), values));
  };

  /** Sends a call to whose turn it is. What was not sent, as nobody was there, is sent to the next. */
  async #sent<T>(send: (transport: Transport) => Promise<T>): Promise<T> {
    const there = this.#peers.filter((peer) => !peer.away);
    const asked = there.length ? there : this.#peers;
    const first = this.#next++ % asked.length;
    let failed: unknown;
    for (const peer of [...asked.slice(first), ...asked.slice(0, first)]) {
      try {
        return await send(peer.transport);
      } catch (error) {
        failed = error;
        const { cause } = ConnectError.from(error);
        if (!(cause instanceof Error && unreached.has(cause))) break;
        peer.leave();
      }
    }
    throw failed;
  }
}
