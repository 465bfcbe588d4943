package dev.usher;

import io.grpc.CallOptions;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ConnectivityState;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.util.concurrent.DefaultThreadFactory;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;
import java.util.function.Supplier;

/** One connection to a sidecar, and the calls on it. */
final class Calls {
  private static final int MAX_MESSAGE = 512 << 20;
  private static final long FIRST_WAIT = TimeUnit.MILLISECONDS.toNanos(100);
  private static final long LONGEST_WAIT = TimeUnit.SECONDS.toNanos(2);

  private final ManagedChannel channel;
  private final EventLoopGroup loop;
  private final int retries;
  private final boolean several;
  private final Set<CompletableFuture<?>> underWay = ConcurrentHashMap.newKeySet();
  private final AtomicLong freshAt = new AtomicLong(System.nanoTime());
  private volatile boolean closed;

  Calls(UsherClient.Builder made) {
    Addresses addresses = new Addresses(made.target, made.tls);
    Metadata headers = new Metadata();
    if (made.key != null) {
      if (!made.key.matches("[\\x21-\\x7e]+")) {
        throw UsherException.invalid("key: it holds characters that no key has");
      }
      if (!made.tls && !addresses.local) {
        throw UsherException.invalid("key: it is sent to another machine by TLS only; use tls");
      }
      headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + made.key);
    }
    retries = made.retries;
    several = addresses.several();
    try {
      ChannelCredentials credentials = made.tls ? secured(made) : InsecureChannelCredentials.create();
      NettyChannelBuilder builder = addresses.channel(credentials);
      if (addresses.unix) {
        loop = new MultiThreadIoEventLoopGroup(1, new DefaultThreadFactory("usher", true), NioIoHandler.newFactory());
        builder.channelType(NioDomainSocketChannel.class).eventLoopGroup(loop).overrideAuthority("localhost");
        builder.withOption(ChannelOption.SO_KEEPALIVE, null); // no such socket has it, and Netty would warn
      } else {
        loop = null;
      }
      if (retries == 0) {
        builder.disableRetry();
      }
      channel =
          builder
              .proxyDetector(any -> null)
              .disableServiceConfigLookUp()
              .maxInboundMessageSize(MAX_MESSAGE)
              .keepAliveTime(60, TimeUnit.SECONDS)
              .keepAliveTimeout(20, TimeUnit.SECONDS)
              .intercept(MetadataUtils.newAttachHeadersInterceptor(headers))
              .build();
    } catch (IOException | IllegalArgumentException refused) {
      throw UsherException.invalid("target, tls: write a host name; give PEM, and the private key as PKCS #8");
    }
  }

  private static ChannelCredentials secured(UsherClient.Builder made) throws IOException {
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    if (made.ca != null) {
      tls.trustManager(new ByteArrayInputStream(made.ca));
    }
    if (made.certificate != null) {
      tls.keyManager(new ByteArrayInputStream(made.certificate), new ByteArrayInputStream(made.privateKey));
    }
    return tls.build();
  }

  void close() {
    closed = true; // from here on no call starts; those that had are ended before gRPC ends them its way
    underWay.forEach(call -> call.completeExceptionally(UsherException.closed()));
    channel.shutdownNow();
    if (loop != null) {
      loop.shutdownGracefully();
    }
  }

  /** The result of a call, or its UsherException. An interrupt cancels the call. */
  static <T> T await(CompletableFuture<T> call) {
    try {
      return call.get();
    } catch (ExecutionException failed) {
      throw new UsherException((UsherException) failed.getCause());
    } catch (InterruptedException interrupted) {
      call.cancel(true);
      Thread.currentThread().interrupt();
      String message = "the thread was interrupted";
      throw new UsherException(Status.Code.CANCELLED, "CLIENT_CANCELLED", message, interrupted);
    }
  }

  /** Starts a call with its deadline; where `repeatable`, it is tried again. */
  <Q, A, T> CompletableFuture<T> start(
      MethodDescriptor<Q, A> method, Duration timeout, boolean repeatable, Supplier<Q> request, Function<A, T> read) {
    return start(method, timeout, repeatable, request, new Only<>(read));
  }

  /** Starts a call whose messages go to `answer`, each when the one before it was taken. */
  <Q, A, T> CompletableFuture<T> start(
      MethodDescriptor<Q, A> method, Duration timeout, boolean repeatable, Supplier<Q> request, Answer<A, T> answer) {
    Deadline deadline = Deadline.after(TimeUnit.NANOSECONDS.convert(timeout), TimeUnit.NANOSECONDS);
    try {
      Call<Q, A, T> call = new Call<>(method, deadline, repeatable, request.get(), answer);
      call.attempt();
      return call.result;
    } catch (UsherException invalid) {
      return CompletableFuture.failedFuture(invalid);
    }
  }

  /** Starts a stream, and waits for its first message; until that has come it is tried again. */
  <Q, A> Messages<A> stream(MethodDescriptor<Q, A> method, Duration timeout, Q request) {
    Deadline deadline = Deadline.after(TimeUnit.NANOSECONDS.convert(timeout), TimeUnit.NANOSECONDS);
    Retries tries = new Retries(deadline, true);
    while (true) {
      refresh();
      ClientCall<Q, A> call = channel.newCall(method, CallOptions.DEFAULT.withDeadline(deadline));
      Messages<A> messages = new Messages<>(call, request, untilClosed(new CompletableFuture<>()));
      try {
        messages.hasNext();
        return messages;
      } catch (UsherException failed) {
        long wait = tries.pause(failed);
        if (wait < 0) {
          throw failed;
        }
        await(untilClosed(new CompletableFuture<Void>().completeOnTimeout(null, wait, TimeUnit.NANOSECONDS)));
      }
    }
  }

  /** The same future, which fails with CLIENT_CLOSED when the client is closed before it is done. */
  private <T> CompletableFuture<T> untilClosed(CompletableFuture<T> future) {
    underWay.add(future);
    future.whenComplete((value, failed) -> underWay.remove(future));
    if (closed) {
      future.completeExceptionally(UsherException.closed());
    }
    return future;
  }

  /** Has a lost connection made anew by the next call, rather than when gRPC's growing wait is over. */
  private void refresh() {
    long last = freshAt.get();
    long now = System.nanoTime();
    if (several && now - last >= LONGEST_WAIT && freshAt.compareAndSet(last, now)) {
      channel.resetConnectBackoff(); // of each that could not be reached
    } else if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE
        && now - last >= FIRST_WAIT
        && freshAt.compareAndSet(last, now)) {
      channel.enterIdle();
    }
  }

  /** What becomes of a call's messages. */
  interface Answer<A, T> {
    void next(A message);

    /** The result, when no more messages come. */
    T end();
  }

  /** The answer of a call that has one message. */
  private static final class Only<A, T> implements Answer<A, T> {
    private final Function<A, T> read;
    private A message;

    Only(Function<A, T> read) {
      this.read = read;
    }

    @Override
    public void next(A message) {
      this.message = message;
    }

    @Override
    public T end() {
      return read.apply(message);
    }
  }

  /** Whether, and when, a call that failed is tried again. */
  private final class Retries {
    private final Deadline deadline;
    private int left;
    private long longest = FIRST_WAIT;

    Retries(Deadline deadline, boolean repeatable) {
      this.deadline = deadline;
      left = repeatable ? retries : 0;
    }

    /** The nanoseconds to wait before another try; -1 when there is to be none. */
    long pause(UsherException failed) {
      long asked = failed.retryDelay() == null ? 0 : TimeUnit.NANOSECONDS.convert(failed.retryDelay());
      long wait = Math.max(asked, ThreadLocalRandom.current().nextLong(longest));
      longest = Math.min(LONGEST_WAIT, 2 * longest);
      boolean again = failed.code() == Status.Code.UNAVAILABLE && left-- > 0;
      return again && wait < deadline.timeRemaining(TimeUnit.NANOSECONDS) ? wait : -1;
    }

    /** Lets there be no more tries: something has come. */
    void end() {
      left = 0;
    }
  }

  private final class Call<Q, A, T> implements StreamObserver<A> {
    final CompletableFuture<T> result = untilClosed(new CompletableFuture<>());
    private final MethodDescriptor<Q, A> method;
    private final Deadline deadline;
    private final boolean repeatable;
    private final Q request;
    private final Answer<A, T> answer;
    private final Retries tries;
    private volatile ClientCall<Q, A> current;

    Call(MethodDescriptor<Q, A> method, Deadline deadline, boolean repeatable, Q request, Answer<A, T> answer) {
      this.method = method;
      this.deadline = deadline;
      this.repeatable = repeatable;
      this.request = request;
      this.answer = answer;
      tries = new Retries(deadline, repeatable);
      result.whenComplete(
          (value, failed) -> {
            if (failed != null) {
              cancel();
            }
          });
    }

    void attempt() {
      if (result.isDone()) {
        return;
      }
      try {
        refresh();
        ClientCall<Q, A> call = channel.newCall(method, CallOptions.DEFAULT.withDeadline(deadline));
        if (method.getType() == MethodDescriptor.MethodType.UNARY) {
          ClientCalls.asyncUnaryCall(call, request, this);
        } else {
          ClientCalls.asyncServerStreamingCall(call, request, this);
        }
        current = call;
        if (result.isCompletedExceptionally()) { // before there was something to cancel
          cancel();
        }
      } catch (RuntimeException unsent) {
        other("the request could not be sent");
      }
    }

    private void cancel() {
      ClientCall<Q, A> call = current;
      if (call != null) {
        call.cancel("no longer wanted", null);
      }
    }

    private void other(String message) {
      result.completeExceptionally(new UsherException(Status.Code.INTERNAL, "CLIENT_OTHER", message, null));
    }

    @Override
    public void onNext(A message) {
      tries.end();
      try {
        if (!result.isDone()) {
          answer.next(message);
        }
      } catch (RuntimeException thrown) {
        result.completeExceptionally(thrown);
      }
    }

    @Override
    public void onCompleted() {
      try {
        result.complete(answer.end());
      } catch (UsherException cut) {
        result.completeExceptionally(cut);
      } catch (RuntimeException unreadable) {
        other("the answer could not be read");
      }
    }

    @Override
    public void onError(Throwable thrown) {
      UsherException failed = UsherException.of(thrown, repeatable);
      long wait = tries.pause(failed);
      if (wait >= 0) {
        CompletableFuture.delayedExecutor(wait, TimeUnit.NANOSECONDS).execute(Context.current().wrap(this::attempt));
      } else {
        result.completeExceptionally(failed);
      }
    }
  }
}
