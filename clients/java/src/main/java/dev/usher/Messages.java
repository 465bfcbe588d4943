package dev.usher;

import io.grpc.ClientCall;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.util.Iterator;
import java.util.concurrent.CompletableFuture;

/** The messages of a stream. One is asked for when the last has been taken, and asking waits. */
final class Messages<A> {
  private final ClientCall<?, A> call;
  private final Iterator<A> messages;
  private final CompletableFuture<Void> ended;
  private volatile boolean closed;

  /** Begins the call. It is cancelled when `ended` fails, which completes with the call. */
  <Q> Messages(ClientCall<Q, A> call, Q request, CompletableFuture<Void> ended) {
    this.call = call;
    this.ended = ended;
    messages = ClientCalls.blockingServerStreamingCall(call, request);
    ended.whenComplete((nothing, failed) -> {
      if (failed != null) {
        cancel();
      }
    });
  }

  /** Whether there is another one. Throws UsherException for a call that failed. */
  boolean hasNext() {
    if (closed) {
      return false;
    }
    try {
      boolean more = messages.hasNext();
      if (!more) {
        ended.complete(null);
      }
      return more;
    } catch (StatusRuntimeException failed) {
      ended.complete(null);
      throw ended.isCompletedExceptionally() ? UsherException.closed() : UsherException.of(failed, true);
    }
  }

  A next() {
    return messages.next();
  }

  /** Cancels the call where it goes on: nothing more comes. */
  void close() {
    closed = true;
    ended.complete(null);
    cancel();
  }

  boolean closed() {
    return closed;
  }

  private void cancel() {
    call.cancel("no longer wanted", null);
  }
}
