package dev.usher;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Context;
import io.grpc.Status;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executors;
import java.util.concurrent.FutureTask;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the scenarios do not see, as they see the same of every language. USHER_ADDRESS names a live sidecar. */
@Timeout(60)
class UsherClientTest {
  static final Map<String, Object> NONE = Map.of();

  static UsherClient nobody() {
    return UsherClient.builder().target("127.0.0.1:1").retries(0).build();
  }

  static UsherClient live() {
    return UsherClient.builder().build();
  }

  static UsherException refused(String reason, Executable call) {
    UsherException refused = assertThrows(UsherException.class, call);
    assertEquals(reason, refused.reason(), refused.getMessage());
    return refused;
  }

  static UsherException failed(String reason, CompletableFuture<?> call) {
    CompletionException failed = assertThrows(CompletionException.class, call::join);
    UsherException cause = assertInstanceOf(UsherException.class, failed.getCause());
    assertEquals(reason, cause.reason(), cause.getMessage());
    return cause;
  }

  @ParameterizedTest
  @ValueSource(strings = {"127.0.0.1:1", "127.255.0.9:1", "[::1]:1", "localhost:1", "unix:/run/usher.sock"})
  void aKeyGoesToThisMachineInTheClear(String target) {
    UsherClient.builder().target(target).key("usher_k").build().close();
  }

  @ParameterizedTest
  @ValueSource(strings = {"example.org:1", "192.0.2.1:1", "127.example.org:1", "[::2]:1"})
  void aKeyGoesNowhereElseInTheClear(String target) {
    UsherClient.Builder made = UsherClient.builder().target(target).key("usher_k");
    assertTrue(refused("CLIENT_INVALID", made::build).getMessage().contains("key"));
    made.tls().build().close();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"dns:///x:1", "localhost", "a@b:1", "http://x:1", "x:70000", "x:1/y", "x:", ":1", "a_b:1", "127.0.0.256:1"})
  void whatIsNoTargetIsRefusedAtOnce(String target) {
    refused("CLIENT_INVALID", () -> UsherClient.connect(target));
  }

  @Test
  void whatIsNoKeyOrCertificateIsRefusedAtOnce() {
    refused("CLIENT_INVALID", () -> UsherClient.builder().key("a\nb").build());
    refused("CLIENT_INVALID", () -> UsherClient.builder().ca("none".getBytes()).build());
    refused("CLIENT_INVALID", () -> UsherClient.builder().certificate(new byte[0], new byte[0]).build());
  }

  @Test
  void noErrorShowsATokenClaimOrParameter() {
    try (UsherClient client = nobody(); UsherClient there = live()) {
      Scope user = client.asUser("secret-sub", Map.of("n", "secret"));
      for (Scope scope : List.of(client.withToken("secret-token"), user)) {
        UsherException failed = refused("CLIENT_UNREACHABLE", () -> scope.query("SELECT 'secret'", "secret"));
        StringWriter shown = new StringWriter();
        failed.printStackTrace(new PrintWriter(shown));
        assertFalse(shown.toString().contains("secret"), shown.toString());
        assertTrue(failed.getMessage().contains("Connection refused"), failed.getMessage());
      }
      Token token = there.issueToken("secret-sub", Map.of("n", "secret"));
      assertFalse(token.toString().contains(token.token()) || token.toString().contains("secret"));
      assertEquals("secret-sub", token.subject());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"unix:/nowhere/usher.sock", "unix:/dev/null", "nowhere.invalid:1"})
  void whatIsNotThereOrNoSocketIsUnreachable(String target) {
    try (UsherClient client = UsherClient.builder().target(target).retries(0).build()) {
      UsherException failed = refused("CLIENT_UNREACHABLE", () -> client.issueToken("a", NONE));
      assertTrue(failed.retryable());
      assertEquals(Status.Code.UNAVAILABLE, failed.code());
    }
  }

  @Test
  void aServerThatIsSilentOrHangsUpDoesNotHoldACall() throws IOException {
    try (ServerSocket silent = listening(); ServerSocket rude = listening()) {
      daemon(() -> hangUp(rude)).start();
      Duration half = Duration.ofMillis(500);
      try (UsherClient client = at(silent); UsherClient other = at(rude)) {
        refused("CLIENT_DEADLINE", () -> client.withTimeout(half).issueToken("a", NONE));
        refused("CLIENT_DEADLINE", () -> client.withTimeout(Duration.ZERO).issueToken("a", NONE));
        refused("CLIENT_UNREACHABLE", () -> other.issueToken("a", NONE));
      }
    }
  }

  private static ServerSocket listening() throws IOException {
    return new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
  }

  private static UsherClient at(ServerSocket server) {
    return UsherClient.builder().target("127.0.0.1:" + server.getLocalPort()).retries(0).build();
  }

  private static void hangUp(ServerSocket server) {
    try {
      while (true) {
        server.accept().close();
      }
    } catch (IOException closed) {
      // The test is over.
    }
  }

  @Test
  void aSidecarThatComesLateIsFoundByTheNextCall() throws Exception {
    ServerSocket reserved = listening();
    reserved.close();
    try (UsherClient client = at(reserved)) {
      Scope alice = client.asUser("alice", NONE);
      refused("CLIENT_UNREACHABLE", () -> alice.query("SELECT 1"));
      try (ServerSocket late = new ServerSocket(reserved.getLocalPort(), 50, InetAddress.getLoopbackAddress())) {
        daemon(() -> relay(late)).start();
        TimeUnit.MILLISECONDS.sleep(150); // gRPC alone would wait for a second before it tries again
        assertEquals(1L, alice.query("SELECT 1").get(0).get(0));
      }
    }
  }

  /** Passes connections on to the sidecar. */
  private static void relay(ServerSocket server) {
    String[] address = System.getenv("USHER_ADDRESS").split(":");
    try {
      while (true) {
        Socket near = server.accept();
        Socket far = new Socket(address[0], Integer.parseInt(address[1]));
        for (Socket[] way : new Socket[][] {{near, far}, {far, near}}) {
          daemon(() -> pass(way[0], way[1])).start();
        }
      }
    } catch (IOException closed) {
      // The test is over.
    }
  }

  private static void pass(Socket from, Socket to) {
    try {
      from.getInputStream().transferTo(to.getOutputStream());
    } catch (IOException closed) {
      // The test is over.
    }
  }

  private static Thread daemon(Runnable task) {
    Thread made = new Thread(task);
    made.setDaemon(true);
    return made;
  }

  @Test
  void closeEndsTheCallsUnderWayThoseThatWaitForAnotherTryAmongThem() {
    UsherClient client = live();
    UsherClient retrying = UsherClient.builder().target("127.0.0.1:1").retries(1000).build();
    CompletableFuture<Result> sleeping = client.asUser("alice", NONE).queryAsync("SELECT pg_sleep(5)");
    client.issueToken("alice", NONE);
    CompletableFuture<Token> waiting = retrying.issueTokenAsync("alice", NONE, null);
    client.close();
    retrying.close();
    assertTrue(waiting.isDone() && sleeping.isDone());
    assertEquals(Status.Code.CANCELLED, failed("CLIENT_CLOSED", sleeping).code());
    failed("CLIENT_CLOSED", waiting);
    refused("CLIENT_CLOSED", () -> client.asUser("alice", NONE).query("SELECT 1"));
    client.close();
  }

  @Test
  void aCancelledFutureAndAnInterruptedThreadEndTheStatement() throws Exception {
    try (UsherClient client = live()) {
      Scope alice = client.withTimeout(Duration.ofSeconds(60)).asUser("alice", NONE);
      String sleep = "WITH held AS MATERIALIZED (SELECT id FROM users FOR UPDATE) SELECT pg_sleep(59) FROM held";
      CompletableFuture<Result> sleeping = alice.queryAsync(sleep);
      await(() -> isHeld(alice));
      sleeping.cancel(true);
      assertThrows(CancellationException.class, sleeping::join);
      await(() -> !isHeld(alice));
      FutureTask<Boolean> waiting = new FutureTask<>(() -> {
        assertEquals(Status.Code.CANCELLED, refused("CLIENT_CANCELLED", () -> alice.query(sleep)).code());
        return Thread.interrupted();
      });
      Thread thread = daemon(waiting);
      thread.start();
      await(() -> isHeld(alice));
      thread.interrupt();
      assertTrue(waiting.get());
      await(() -> !isHeld(alice));
    }
  }

  /** Whether another statement holds the user's row. */
  private static boolean isHeld(Scope user) {
    try {
      return user.query("SELECT id FROM users FOR UPDATE NOWAIT").isEmpty();
    } catch (UsherException error) {
      assertEquals("LOCK_NOT_AVAILABLE", error.reason());
      assertTrue(error.retryable());
      return true;
    }
  }

  /** Waits until it is so, but not until the server ends the statement by itself. */
  private static void await(BooleanSupplier so) throws InterruptedException {
    long asked = System.nanoTime();
    while (!so.getAsBoolean()) {
      assertTrue(System.nanoTime() - asked < TimeUnit.SECONDS.toNanos(8));
      TimeUnit.MILLISECONDS.sleep(20);
    }
  }

  @Test
  void aContextOfGrpcBoundsACallToo() {
    ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(UsherClientTest::daemon);
    try (UsherClient client = live();
        Context.CancellableContext context = Context.current().withDeadlineAfter(200, TimeUnit.MILLISECONDS, timer)) {
      Scope alice = client.asUser("alice", NONE);
      // The sidecar knows the deadline as well, and its answer may come first.
      context.run(() -> {
        UsherException late = assertThrows(UsherException.class, () -> alice.query("SELECT pg_sleep(5)"));
        assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
      });
    }
  }

  @Test
  void aTokenSourceAsksAgainAfterAFailureAndSharesWithoutBeingCancelled() {
    try (UsherClient nobody = nobody(); UsherClient client = live()) {
      TokenSource lost = nobody.tokenSource("alice", NONE, null);
      UsherException first = failed("CLIENT_UNREACHABLE", lost.tokenAsync());
      refused("CLIENT_UNREACHABLE", lost::token);
      assertFalse(first.metadata().containsKey("sqlstate"));
      TokenSource source = client.tokenSource("alice", NONE, Duration.ofMinutes(1));
      CompletableFuture<Token> one = source.tokenAsync();
      CompletableFuture<Token> other = source.tokenAsync();
      one.cancel(true);
      assertEquals(other.join().token(), source.token().token());
    }
  }

  @Test
  void noProxyIsUsed() throws IOException {
    try (ServerSocket proxy = listening();
        UsherClient client = UsherClient.builder().target("nowhere.invalid:1").retries(0).build()) {
      System.setProperty("https.proxyHost", "127.0.0.1");
      System.setProperty("https.proxyPort", String.valueOf(proxy.getLocalPort()));
      refused("CLIENT_UNREACHABLE", () -> client.withTimeout(Duration.ofSeconds(5)).issueToken("alice", NONE));
      proxy.setSoTimeout(1);
      assertThrows(SocketTimeoutException.class, proxy::accept);
    } finally {
      System.clearProperty("https.proxyHost");
      System.clearProperty("https.proxyPort");
    }
  }

  @Test
  void rowsAreViewsByPositionNameAndType() {
    try (UsherClient client = live()) {
      Result result = client.asUser("a", NONE).query("SELECT g AS n, -g AS n, 'x' AS t FROM generate_series(1, 3) g");
      assertEquals(List.of(1L, 2L, 3L), result.stream().map(row -> row.get("n", Long.class)).toList());
      assertEquals(List.of(3L, -3L, "x"), result.get(2));
      assertEquals(Map.of("n", 1L, "t", "x"), result.get(0).toMap());
      assertEquals("x", result.get(0).get(2, String.class));
      assertEquals(3, result.affectedRows());
      assertThrows(IndexOutOfBoundsException.class, () -> result.get(3));
      assertThrows(IndexOutOfBoundsException.class, () -> result.get(0).get(3));
      assertThrows(NoSuchElementException.class, () -> result.get(0).get("missing"));
      assertThrows(ClassCastException.class, () -> result.get(0).get("t", Long.class));
      assertThrows(UnsupportedOperationException.class, () -> result.clear());
    }
  }

  @Test
  void everyCallHasItsFuture() {
    try (UsherClient client = live()) {
      Scope alice = client.asUser("alice", Map.of("tenant_id", "acme"));
      CompletableFuture<String> both =
          alice.whoAmIAsync().thenCombine(alice.readOnly().queryAsync("SELECT name FROM users"),
              (seen, rows) -> seen.getUserId() + " " + rows.get(0).get("name"));
      assertEquals("alice Alice Archer", both.join());
      failed("NAMED_STATEMENT_UNKNOWN", alice.runAsync("nothing"));
      Token token = client.issueTokenAsync("alice", NONE, Duration.ofSeconds(60), "a").join();
      assertEquals("alice", client.verifyTokenAsync(token.token(), "a").join().subject());
      failed("TOKEN_AUDIENCE_MISMATCH", client.verifyTokenAsync(token.token(), "b"));
      // Keys are looked after on the admin address alone.
      List<Supplier<CompletableFuture<?>>> admin = List.of(
          client::listKeysAsync, () -> client.rotateKeysAsync(false), () -> client.revokeKeyAsync("x"));
      admin.forEach(call -> assertEquals(Status.Code.UNIMPLEMENTED, failed("CLIENT_OTHER", call.get()).code()));
    }
  }

  @Test
  void anErrorSaysWhereItsCallWasMade() {
    try (UsherClient client = live()) {
      Scope alice = client.asUser("alice", NONE);
      UsherException refused = refused("UNDEFINED_OBJECT", () -> alice.query("SELECT FROM nowhere"));
      assertEquals("42P01", refused.sqlState());
      assertFalse(refused.requestId().isEmpty());
      String here = getClass().getName();
      assertTrue(Arrays.stream(refused.getStackTrace()).anyMatch(it -> it.getClassName().startsWith(here)));
    }
  }
}
