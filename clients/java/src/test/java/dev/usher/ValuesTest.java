package dev.usher;

import static dev.usher.UsherClientTest.NONE;
import static dev.usher.UsherClientTest.failed;
import static dev.usher.UsherClientTest.live;
import static dev.usher.UsherClientTest.nobody;
import static dev.usher.UsherClientTest.refused;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneId;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Values and claims as Java has them. USHER_ADDRESS names a live sidecar. */
@Timeout(60)
class ValuesTest {
  @Test
  void whatCannotBeSentNamesItsPlace() {
    try (UsherClient client = nobody()) {
      Object[] bad = {new Object(), Map.of(), 'c', "\ud800", List.of(List.of(new Object())), new Json("\udc00\ud800"),
        LocalDate.MAX, LocalDate.ofEpochDay(Integer.MAX_VALUE), LocalDate.ofEpochDay(Integer.MIN_VALUE), new char[1],
        Duration.ofSeconds(Long.MAX_VALUE)};
      for (Object value : bad) {
        CompletableFuture<Result> call = client.asUser("a", NONE).queryAsync("SELECT $1, $2", 1, value);
        UsherException refused = failed("CLIENT_INVALID", call);
        assertTrue(refused.getMessage().contains("parameters[1]"), refused.getMessage());
      }
      Scope scope = client.asUser("a", NONE);
      refused("CLIENT_INVALID", () -> scope.maxRows(-1));
      refused("CLIENT_INVALID", () -> scope.maxRows(1L << 32));
      refused("CLIENT_INVALID", () -> scope.query("\ud800"));
      refused("CLIENT_INVALID", () -> scope.run(null));
      refused("CLIENT_INVALID", () -> client.verifyToken("\ud800", ""));
      refused("CLIENT_INVALID", () -> client.issueToken("a", NONE, null, "\ud800"));
    }
  }

  @Test
  void claimsThatAStructDoesNotHoldAreRefused() {
    try (UsherClient client = nobody()) {
      Object[] unknown = {Double.NaN, Float.POSITIVE_INFINITY, new Object(), "\ud800", List.of(Map.of(1, 2))};
      for (Object claim : unknown) {
        refused("CLIENT_INVALID", () -> client.asUser("a", Map.of("claim", claim)));
      }
      Object[] rounded = {1L << 53, -(1L << 53), BigInteger.TWO.pow(64), 1e300, List.of(Map.of("n", 1L << 53)),
        new BigDecimal("0.10000000000000000001")};
      for (Object claim : rounded) {
        refused("CLAIM_NOT_EXACT", () -> client.asUser("a", Map.of("claim", claim)));
      }
      Object[] exact = {(1L << 53) - 1, 0.1, 0.1f, new BigDecimal("0.10"), (short) 1, Collections.singletonList(null)};
      for (Object claim : exact) {
        client.asUser("a", Map.of("claim", claim));
      }
      client.asUser("a", null); // no claims
    }
  }

  @Test
  void whatJavaHasAndPostgresTakes() {
    OffsetDateTime moment = OffsetDateTime.parse("1969-12-31T23:59:59.999999999+14:00");
    Instant cut = Instant.parse("1969-12-31T09:59:59.999999Z");
    Object[] values = {
      moment, moment.toInstant(), moment.atZoneSameInstant(ZoneId.of("UTC")), 7, (byte) 7, BigInteger.TEN,
      BigInteger.TWO.pow(70), new BigDecimal("1E+3"), 0.5f, new int[] {1, 2}, Arrays.asList("a", null),
      new UUID(1, -1), "[1]", List.of(Special.INFINITY, LocalDate.EPOCH), Special.NEGATIVE_INFINITY, null,
      Thread.State.NEW, Duration.ofNanos(-1_500_000_999),
    };
    String[] types = {
      "timestamptz", "timestamptz", "timestamptz", "int4", "int2", "int8", "numeric", "numeric", "float4", "int4[]",
      "text[]", "uuid", "jsonb", "date[]", "timestamp", "text", "text", "interval",
    };
    Object[] expected = {
      cut, cut, cut, 7L, 7L, 10L, new BigDecimal(BigInteger.TWO.pow(70)), new BigDecimal("1000"), 0.5, List.of(1L, 2L),
      Arrays.asList("a", null), new UUID(1, -1), new Json("[1]"), List.of(Special.INFINITY, LocalDate.EPOCH),
      Special.NEGATIVE_INFINITY, null, "NEW", new PgInterval(0, 0, -1_500_001),
    };
    try (UsherClient client = live()) {
      Scope alice = client.asUser("alice", NONE);
      for (int at = 0; at < values.length; at++) {
        assertEquals(expected[at], alice.query("SELECT $1::" + types[at], values[at]).get(0).get(0), types[at]);
      }
      assertNull(alice.query("SELECT $1::text", (Object[]) null).get(0).get(0));
      byte[] octets = alice.query("SELECT $1::bytea", new byte[] {0, -1}).get(0).get(0, byte[].class);
      assertArrayEquals(new byte[] {0, -1}, octets);
      Json json = alice.query("SELECT '{\"n\": 12345678901234567890}'::json").get(0).get(0, Json.class);
      assertEquals("{\"n\": 12345678901234567890}", json.text());
      Object forever = new PgInterval(Integer.MAX_VALUE, Integer.MAX_VALUE, Long.MAX_VALUE);
      assertEquals(true, alice.query("SELECT $1::interval > '1000 years'", forever).get(0).get(0));
    }
  }
}
