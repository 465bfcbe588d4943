package dev.usher;

import static dev.usher.UsherClientTest.NONE;
import static dev.usher.UsherClientTest.failed;
import static dev.usher.UsherClientTest.live;
import static dev.usher.UsherClientTest.refused;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What the scenarios do not see of streams and transactions. USHER_ADDRESS names a live sidecar. */
@Timeout(60)
class RowStreamTest {
  /** 32 MB, and when Postgres made each row. */
  private static final String MANY =
      "SELECT clock_timestamp() AS made, repeat('x', 32000) FROM generate_series(1, 1000)";
  private static final int WITHIN_WINDOW = 500;

  private static RowStream begun(Scope scope, String sql) {
    RowStream stream = scope.stream(sql);
    stream.next();
    return stream;
  }

  private static void end(RowStream stream) {
    stream.forEachRemaining(row -> {});
  }

  private static Instant now(Scope scope) {
    return scope.query("SELECT clock_timestamp()").get(0).get(0, Instant.class);
  }

  @Test
  void aStreamThatIsNotReadHoldsPostgresUp() {
    try (UsherClient client = live()) {
      Scope alice = client.asUser("alice", NONE);
      RowStream slow = begun(alice, MANY);
      end(begun(alice, MANY)); // in this time the first would have come, too
      Instant now = now(alice);
      int before = 0;
      for (Row row : slow) {
        before += row.get("made", Instant.class).isBefore(now) ? 1 : 0;
      }
      assertTrue(before > 0 && before < WITHIN_WINDOW, before + " of 1000 were made ahead");
      assertEquals(1000, slow.summary().getRowCount());
      assertThrows(NoSuchElementException.class, slow::next);
    }
  }

  @Test
  void aConsumerThatTakesItsTimeHoldsPostgresUp() throws Exception {
    try (UsherClient client = live()) {
      Scope alice = client.asUser("alice", NONE);
      CountDownLatch begun = new CountDownLatch(1);
      CountDownLatch goOn = new CountDownLatch(1);
      List<Instant> made = new ArrayList<>();
      CompletableFuture<?> slow =
          alice.streamAsync(
              row -> {
                begun.countDown();
                wait(goOn);
                made.add(row.get("made", Instant.class));
              },
              MANY);
      begun.await();
      end(begun(alice, MANY));
      Instant now = now(alice);
      goOn.countDown();
      slow.join();
      long before = made.stream().filter(it -> it.isBefore(now)).count();
      assertTrue(before > 0 && before < WITHIN_WINDOW, before + " of 1000 were made ahead");
    }
  }

  private static void wait(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException interrupted) {
      throw new IllegalStateException(interrupted);
    }
  }

  @Test
  void streamsThatAreNotReadDoNotHoldUpOtherCallsOfTheirClient() {
    try (UsherClient client = live()) {
      Scope alice = client.asUser("alice", NONE).timeout(Duration.ofSeconds(30)); // less than the sidecar's patience
      List<RowStream> unread = new ArrayList<>();
      for (int count = 0; count < 4; count++) {
        unread.add(begun(alice, MANY));
      }
      for (int count = 0; count < 4; count++) {
        assertEquals(1, alice.query("SELECT repeat('x', 1000000)").size());
      }
      unread.forEach(RowStream::close);
      assertFalse(unread.get(0).hasNext());
      assertNull(unread.get(0).summary());
    }
  }

  @Test
  void aStreamHasADeadlineOfItsOwnAndEndsWithItsClient() {
    Scope alice;
    RowStream unread;
    try (UsherClient client = UsherClient.builder().timeout(Duration.ofMillis(200)).build()) {
      alice = client.asUser("alice", NONE);
      end(alice.stream("SELECT pg_sleep(0.4)"));
      RowStream hasty = begun(alice.timeout(Duration.ofMillis(300)), MANY);
      alice.timeout(Duration.ofSeconds(15)).query("SELECT pg_sleep(0.4)");
      refused("CLIENT_DEADLINE", () -> end(hasty));
      unread = begun(alice, MANY);
    }
    refused("CLIENT_CLOSED", () -> end(unread));
    refused("CLIENT_CLOSED", () -> alice.stream("SELECT 1"));
  }

  @Test
  void closingAClientEndsAStreamThatWaitsForAnotherTry() {
    UsherClient client = UsherClient.builder().target("127.0.0.1:1").retries(1000).build();
    CompletableFuture<RowStream> waiting =
        CompletableFuture.supplyAsync(() -> client.asUser("alice", NONE).stream("SELECT 1"));
    assertThrows(
        TimeoutException.class, () -> waiting.get(200, TimeUnit.MILLISECONDS));
    client.close();
    failed("CLIENT_CLOSED", waiting);
  }

  @Test
  void anInterruptedThreadEndsItsStream() throws Exception {
    try (UsherClient client = live()) {
      Scope alice = client.asUser("alice", NONE);
      AtomicReference<UsherException> thrown = new AtomicReference<>();
      CountDownLatch begun = new CountDownLatch(1);
      Thread reader =
          new Thread(
              () -> {
                begun.countDown();
                try {
                  end(alice.stream("SELECT g, pg_sleep(0.1) FROM generate_series(1, 1000) g"));
                } catch (UsherException cancelled) {
                  thrown.set(cancelled);
                }
              });
      reader.start();
      begun.await();
      reader.interrupt();
      reader.join();
      assertEquals("CLIENT_CANCELLED", thrown.get().reason());
      assertEquals(1, alice.query("SELECT 1").size());
    }
  }

  @Test
  void rowsWithoutWaiting() {
    try (UsherClient client = live()) {
      Scope alice = client.asUser("alice", NONE);
      List<Object> got = new ArrayList<>();
      String three = "SELECT generate_series($1::int8, 3)";
      assertEquals(3, alice.streamAsync(row -> got.add(row.get(0)), three, 1L).join().getRowCount());
      assertEquals(List.of(1L, 2L, 3L), got);
      got.clear();
      String fails = "SELECT 1 / (3 - g) FROM generate_series(1, 9) g";
      failed("DATA_EXCEPTION", alice.streamAsync(row -> got.add(row.get(0)), fails));
      assertEquals(List.of(0L, 1L), got);
      failed("NAMED_STATEMENT_UNKNOWN", alice.streamStatementAsync(row -> {}, "nothing"));
      IllegalStateException own = new IllegalStateException("enough");
      CompletableFuture<?> left =
          alice.streamAsync(
              row -> {
                throw own;
              },
              MANY);
      assertSame(own, assertThrows(CompletionException.class, left::join).getCause());
      failed("CLIENT_INVALID", alice.streamAsync(row -> {}, "SELECT $1", new Object()));
    }
  }

  @Test
  void whatCannotBeSentInATransactionIsNamedWithItsPlace() {
    try (UsherClient client = live()) {
      Scope alice = client.asUser("alice", NONE).maxRows(3);
      Statement five = Statement.sql("SELECT generate_series(1, 5)");
      List<Result> results = alice.transaction(List.of(five, five.maxRows(2)));
      assertEquals(List.of(3, 2), results.stream().map(Result::size).toList());
      List<Statement> bad = List.of(five, Statement.named("name", new Object()));
      UsherException invalid = refused("CLIENT_INVALID", () -> alice.transaction(bad));
      assertTrue(invalid.getMessage().contains("statements[1].parameters[0]"), invalid.getMessage());
      assertNull(invalid.statementIndex());
      refused("CLIENT_INVALID", () -> five.maxRows(-1));
      Statement nulls = Statement.sql("SELECT $1::text", (Object[]) null);
      assertNull(alice.transaction(List.of(nulls)).get(0).get(0).get(0));
    }
  }
}
