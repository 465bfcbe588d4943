/** What every call of a client goes through: its deadline, its cancelling, and another try where that is safe. */

import { Code, ConnectError } from "@connectrpc/connect";
import type { CallOptions as Sending } from "@connectrpc/connect";
import { setTimeout as sleep } from "node:timers/promises";
import type { CallOptions } from "./options.js";
import { cancelled, closed, fromTransport, invalid, UsherError } from "./errors.js";

const [FIRST_WAIT_MS, LONGEST_WAIT_MS, LONGEST_TIMEOUT_MS] = [100, 2_000, 99_999_999];
const [CALL_MS, STREAM_MS] = [15_000, 600_000];

interface Settings {
  key?: string;
  timeoutMs?: number;
  retries?: number;
}

type Method<I, O> = (request: I, options: Sending) => Promise<O>;
type StreamMethod<I, O> = (request: I, options: Sending) => AsyncIterable<O>;

/** The calls of one client. */
export class Calls {
  readonly #settings: Settings;
  readonly #underWay = new Set<Call>();
  #closed = false;

  constructor(settings: Settings) {
    this.#settings = { ...settings };
  }

  /** Runs a call within its deadline, and again where that changes nothing. */
  async run<I, O>(method: Method<I, O>, request: I, options: CallOptions, repeatable: boolean): Promise<O> {
    const call = this.#begin(options, this.#settings.timeoutMs ?? CALL_MS);
    try {
      return await this.#attempts(method, request, call, repeatable);
    } catch (error) {
      throw call.why ?? error;
    } finally {
      this.#end(call);
    }
  }

  /** The messages of a stream, which is tried again until the first has come. Leaving it cancels the call. */
  async *stream<I, O>(method: StreamMethod<I, O>, request: I, options: CallOptions): AsyncGenerator<O, void> {
    const call = this.#begin(options, STREAM_MS);
    let messages: AsyncIterator<O> | undefined;
    const begin: Method<I, IteratorResult<O>> = (message, sending) => {
      messages = method(message, sending)[Symbol.asyncIterator]();
      return messages.next();
    };
    try {
      let next = await this.#attempts(begin, request, call, true);
      for (; !next.done; next = await messages!.next()) yield next.value;
    } catch (error) {
      throw call.why ?? (error instanceof UsherError ? error : fromTransport(error, true));
    } finally {
      call.stop(cancelled()); // for when the loop was left; a call that has ended does not mind
      if (messages) void drained(messages);
      this.#end(call);
    }
  }

  /** Ends the calls under way with CLIENT_CLOSED, and lets none begin. */
  close(): void {
    this.#closed = true;
    for (const call of this.#underWay) call.stop(closed());
  }

  #begin(options: CallOptions, usualMs: number): Call {
    const { signal, timeoutMs = usualMs } = options;
    if (Number.isNaN(timeoutMs)) throw invalid("timeoutMs: a number of milliseconds");
    if (this.#closed) throw closed();
    if (signal?.aborted) throw cancelled(signal);
    const call = new Call(timeoutMs, signal);
    this.#underWay.add(call);
    return call;
  }

  #end(call: Call): void {
    call.forget();
    this.#underWay.delete(call);
  }

  async #attempts<I, O>(method: Method<I, O>, request: I, call: Call, repeatable: boolean): Promise<O> {
    const { key, retries = 3 } = this.#settings;
    const headers = { ...(key !== undefined && { authorization: `Bearer ${key}` }) };
    for (let left = repeatable ? retries : 0, longest = FIRST_WAIT_MS; ; left -= 1) {
      try {
        const timeoutMs = Math.max(1, Math.ceil(call.remainingMs)); // 0 would be no deadline at all
        return await method(request, { signal: call.signal, timeoutMs, headers });
      } catch (error) {
        call.signal.throwIfAborted();
        const failed = fromTransport(error, repeatable);
        const wait = Math.max(failed.retryDelayMs ?? 0, Math.random() * longest);
        if (left <= 0 || failed.code !== "UNAVAILABLE" || wait >= call.remainingMs) throw failed;
        await sleep(wait, undefined, { signal: call.signal });
        longest = Math.min(LONGEST_WAIT_MS, longest * 2);
      }
    }
  }
}

/** A call under way: until when it may take, and what ended it before. */
class Call {
  /** What ended it early. */
  why: UsherError | undefined;
  readonly #stop = new AbortController();
  readonly #ends: number;
  readonly #given: AbortSignal | undefined;
  readonly #cancel = () => this.stop(cancelled(this.#given));

  constructor(timeoutMs: number, given: AbortSignal | undefined) {
    this.#ends = performance.now() + Math.min(timeoutMs, LONGEST_TIMEOUT_MS);
    this.#given = given;
    given?.addEventListener("abort", this.#cancel);
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  get remainingMs(): number {
    return this.#ends - performance.now();
  }

  stop(why: UsherError): void {
    this.why ??= why;
    this.#stop.abort(new ConnectError("ended", Code.Canceled, {}, [], why));
  }

  forget(): void {
    this.#given?.removeEventListener("abort", this.#cancel);
  }
}

/** Takes what a call that has ended still holds, which is little: then the transport forgets the deadline's timer. */
async function drained(messages: AsyncIterator<unknown>): Promise<void> {
  try {
    while (!(await messages.next()).done);
  } catch { /* it was cancelled */ }
}
