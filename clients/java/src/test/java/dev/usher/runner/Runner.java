package dev.usher.runner;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import dev.usher.Json;
import dev.usher.PgInterval;
import dev.usher.Result;
import dev.usher.Row;
import dev.usher.Scope;
import dev.usher.Special;
import dev.usher.Token;
import dev.usher.TokenSource;
import dev.usher.UsherClient;
import dev.usher.UsherException;
import dev.usher.v1.Column;
import dev.usher.v1.Key;
import dev.usher.v1.Kind;
import dev.usher.v1.WhoAmIResponse;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Runs scenarios through the Java client: one JSON request a line in, one JSON answer a line out.
 * clients/CONTRACT.md describes both.
 */
public final class Runner {
  private static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
  private static final List<String> FORGOTTEN = List.of("iat", "exp", "nbf", "jti", "iss");

  private final Map<String, UsherClient> clients = new HashMap<>();
  private final Map<String, TokenSource> sources = new HashMap<>();
  private final Map<String, Token> tokens = new HashMap<>();
  private final ExecutorService threads = Executors.newCachedThreadPool(Runner::daemon);
  private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(Runner::daemon);

  private static Thread daemon(Runnable task) {
    Thread made = new Thread(task);
    made.setDaemon(true);
    return made;
  }

  public static void main(String[] arguments) throws Exception {
    Runner runner = new Runner();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      out.println(GSON.toJson(runner.answer(JsonParser.parseString(line).getAsJsonObject())));
    }
  }

  private Object answer(JsonObject request) throws Exception {
    try {
      return perform(request);
    } catch (UsherException error) {
      Map<String, Object> shown = new LinkedHashMap<>();
      shown.put("code", error.code().name());
      shown.put("reason", error.reason());
      shown.put("sqlstate", error.sqlState());
      shown.put("retryable", error.retryable());
      shown.put("fields", new TreeSet<>(error.fields().keySet()));
      return Map.of("error", shown);
    }
  }

  private Object perform(JsonObject request) throws Exception {
    UsherClient client = clients.get(text(request, "client"));
    switch (text(request, "do")) {
      case "connect":
        connect(request);
        return Map.of("ok", true);
      case "close":
        client.close();
        return Map.of("ok", true);
      case "query":
        return query(request);
      case "issue":
        JsonElement given = request.has("audiences") ? request.get("audiences") : new JsonArray();
        String[] audiences = GSON.fromJson(given, String[].class);
        Token issued = client.issueToken(text(request, "sub"), claims(request), seconds(request, "ttl"), audiences);
        tokens.put(request.has("save") ? text(request, "save") : "", issued);
        long lifetime = Duration.between(issued.issueTime(), issued.expireTime()).toSeconds();
        return Map.of("token", Map.of("alg", issued.alg(), "lifetime", lifetime, "kid_length", issued.kid().length()));
      case "source":
        return source(client, request);
      case "verify":
        String token = request.has("saved") ? tokens.get(text(request, "saved")).token() : text(request, "token");
        Map<String, Object> claims = new TreeMap<>(client.verifyToken(token, text(request, "audience")).claims());
        claims.keySet().removeAll(FORGOTTEN);
        return Map.of("claims", claims);
      case "whoami":
        WhoAmIResponse seen = scope(request).whoAmI();
        return Map.of("role", seen.getRole(), "user_id", seen.getUserId(), "backend_kind", seen.getBackendKind());
      case "keys":
        Map<String, Integer> states = new TreeMap<>();
        for (Key key : client.listKeys()) {
          states.merge(lower(key.getState().name().substring("KEY_STATE_".length())), 1, Integer::sum);
        }
        return Map.of("states", states);
      case "many":
        return many(request);
      default:
        return Map.of("unsupported", true);
    }
  }

  private void connect(JsonObject request) {
    UsherClient.Builder made = UsherClient.builder().target(text(request, "target"));
    if (request.has("ca")) {
      made.ca(text(request, "ca").getBytes(StandardCharsets.UTF_8));
    }
    if (request.has("cert")) {
      byte[] privateKey = text(request, "private_key").getBytes(StandardCharsets.UTF_8);
      made.certificate(text(request, "cert").getBytes(StandardCharsets.UTF_8), privateKey);
    }
    if (request.has("key")) {
      made.key(text(request, "key"));
    }
    if (request.has("retries")) {
      made.retries(request.get("retries").getAsInt());
    }
    UsherClient before = clients.put(text(request, "client"), made.build());
    if (before != null) {
      before.close();
    }
  }

  private Scope scope(JsonObject request) {
    UsherClient client = clients.get(text(request, "client"));
    JsonObject scope = request.getAsJsonObject("scope");
    if (scope.has("saved")) {
      return client.withToken(tokens.get(text(scope, "saved")).token());
    }
    return scope.has("token")
        ? client.withToken(text(scope, "token"))
        : client.asUser(text(scope, "sub"), claims(scope));
  }

  private Object query(JsonObject request) {
    Scope scope = scope(request);
    if (request.has("read_only") && request.get("read_only").getAsBoolean()) {
      scope = scope.readOnly();
    }
    if (request.has("max_rows")) {
      scope = scope.maxRows(request.get("max_rows").getAsLong());
    }
    if (request.has("statement_timeout")) {
      scope = scope.statementTimeout(seconds(request, "statement_timeout"));
    }
    if (request.has("timeout")) {
      scope = scope.timeout(seconds(request, "timeout"));
    }
    List<Object> given = new ArrayList<>();
    if (request.has("params")) {
      request.getAsJsonArray("params").forEach(value -> given.add(value(value)));
    }
    Object[] parameters = given.toArray();
    Future<?> cancelling = null;
    if (request.has("cancel_after")) {
      long after = seconds(request, "cancel_after").toMillis();
      cancelling = timer.schedule(Thread.currentThread()::interrupt, after, TimeUnit.MILLISECONDS);
    }
    try {
      return shown(
          request.has("statement")
              ? scope.run(text(request, "statement"), parameters)
              : scope.query(text(request, "sql"), parameters));
    } finally {
      if (cancelling != null) {
        cancelling.cancel(false);
        Thread.interrupted();
      }
    }
  }

  private Object source(UsherClient client, JsonObject request) throws Exception {
    TokenSource source =
        sources.computeIfAbsent(
            text(request, "source"),
            name -> client.tokenSource(text(request, "sub"), claims(request), seconds(request, "ttl")));
    List<Callable<String>> asked = Collections.nCopies(request.get("calls").getAsInt(), () -> source.token().token());
    HashSet<String> distinct = new HashSet<>();
    if (request.has("parallel") && request.get("parallel").getAsBoolean()) {
      for (Future<String> token : threads.invokeAll(asked)) {
        distinct.add(token.get());
      }
    } else {
      for (Callable<String> one : asked) {
        distinct.add(one.call());
        Duration pause = seconds(request, "pause");
        Thread.sleep(pause == null ? 0 : pause.toMillis());
      }
    }
    return Map.of("distinct", distinct.size());
  }

  private Object many(JsonObject request) throws Exception {
    JsonObject one = request.getAsJsonObject("request");
    one.add("client", request.get("client"));
    Map<String, Integer> counts = new HashMap<>();
    int count = request.get("count").getAsInt();
    Callable<String> ask = () -> GSON.toJson(answer(one));
    for (Future<String> answer : threads.invokeAll(Collections.nCopies(count, ask))) {
      counts.merge(answer.get(), 1, Integer::sum);
    }
    List<List<Object>> answers = new ArrayList<>();
    counts.entrySet().stream()
        .sorted(Map.Entry.<String, Integer>comparingByValue().reversed())
        .forEach(entry -> answers.add(List.of(JsonParser.parseString(entry.getKey()), entry.getValue())));
    return Map.of("answers", answers);
  }

  private static String text(JsonObject request, String name) {
    return request.has(name) ? request.get(name).getAsString() : "";
  }

  private static String lower(String text) {
    return text.toLowerCase(Locale.ROOT);
  }

  private static Duration seconds(JsonObject request, String name) {
    return request.has(name) ? Duration.ofNanos(Math.round(request.get(name).getAsDouble() * 1e9)) : null;
  }

  private static Map<String, Object> claims(JsonObject request) {
    Map<String, Object> made = new TreeMap<>();
    if (request.has("claims")) {
      request.getAsJsonObject("claims").asMap().forEach((name, value) -> made.put(name, claim(value)));
    }
    return made;
  }

  private static Object claim(JsonElement value) {
    if (value.isJsonNull()) {
      return null;
    } else if (value.isJsonArray()) {
      List<Object> items = new ArrayList<>();
      value.getAsJsonArray().forEach(item -> items.add(claim(item)));
      return items;
    } else if (value.isJsonObject()) {
      Map<String, Object> made = new TreeMap<>();
      value.getAsJsonObject().asMap().forEach((name, item) -> made.put(name, claim(item)));
      return made;
    }
    JsonPrimitive one = value.getAsJsonPrimitive();
    if (one.isNumber()) {
      return one.getAsString().matches("-?\\d+") ? (Object) one.getAsLong() : (Object) one.getAsDouble();
    }
    return one.isBoolean() ? (Object) one.getAsBoolean() : one.getAsString();
  }

  /** A value of the scenarios as Java's. */
  private static Object value(JsonElement element) {
    if (element.isJsonNull()) {
      return null;
    }
    Map.Entry<String, JsonElement> only = element.getAsJsonObject().entrySet().iterator().next();
    JsonElement content = only.getValue();
    String kind = only.getKey();
    if (kind.equals("array")) {
      List<Object> items = new ArrayList<>();
      content.getAsJsonArray().forEach(item -> items.add(value(item)));
      return items;
    } else if (kind.equals("interval")) {
      JsonArray parts = content.getAsJsonArray();
      return new PgInterval(parts.get(0).getAsInt(), parts.get(1).getAsInt(), parts.get(2).getAsLong());
    } else if (content.isJsonArray()) {
      Instant moment = instant(content.getAsJsonArray());
      return kind.equals("timestamp") ? LocalDateTime.ofInstant(moment, ZoneOffset.UTC) : moment;
    } else if (content.getAsJsonPrimitive().isNumber()) {
      return kind.equals("date") ? LocalDate.ofEpochDay(content.getAsLong()) : Special.END_OF_DAY;
    } else if (content.getAsString().matches("-?infinity|NaN|-?Infinity")) {
      return special(content.getAsString());
    }
    return scalar(kind, content);
  }

  private static Instant instant(JsonArray parts) {
    return Instant.ofEpochSecond(parts.get(0).getAsLong(), parts.get(1).getAsLong() * 1000);
  }

  private static Special special(String text) {
    return text.equals("NaN") ? Special.NAN : text.startsWith("-") ? Special.NEGATIVE_INFINITY : Special.INFINITY;
  }

  private static Object scalar(String kind, JsonElement content) {
    String text = content.getAsString();
    return switch (kind) {
      case "bool" -> content.getAsBoolean();
      case "int" -> Long.parseLong(text);
      case "float" -> Double.longBitsToDouble(Long.parseUnsignedLong(text, 16));
      case "bytes" -> HexFormat.of().parseHex(text);
      case "numeric" -> new BigDecimal(text);
      case "date" -> LocalDate.parse(text);
      case "time" -> LocalTime.parse(text);
      case "timestamp" -> LocalDateTime.parse(text);
      case "timestamptz" -> Instant.parse(text);
      case "uuid" -> UUID.fromString(text);
      case "json" -> new Json(text);
      default -> text;
    };
  }

  private static Object shown(Result result) {
    List<Object> columns = new ArrayList<>();
    List<Object> rows = new ArrayList<>();
    for (Column column : result.columns()) {
      columns.add(List.of(column.getName(), column.getTypeName(), column.getKind().name().substring(5)));
    }
    for (Row row : result) {
      List<Object> cells = new ArrayList<>();
      for (int at = 0; at < row.size(); at++) {
        Column column = result.columns().get(at);
        cells.add(shown(row.get(at), column.getKind(), column.getElementKind()));
      }
      rows.add(cells);
    }
    return Map.of(
        "columns", columns, "rows", rows, "truncated", result.truncated(),
        "command_tag", result.commandTag(), "affected_rows", result.affectedRows());
  }

  private static Object shown(Object value, Kind kind, Kind elementKind) {
    return value == null ? null : Map.of(lower(kind.name().substring(5)), content(value, kind, elementKind));
  }

  private static Object content(Object value, Kind kind, Kind elementKind) {
    if (value instanceof List<?> list) {
      List<Object> items = new ArrayList<>();
      list.forEach(item -> items.add(shown(item, elementKind, null)));
      return items;
    } else if (value instanceof Special special) {
      boolean number = kind == Kind.KIND_NUMERIC;
      return special == Special.END_OF_DAY ? (Object) 86_400_000_000L
          : number ? special.toString() : lower(special.toString());
    } else if (value instanceof Double number) {
      return HexFormat.of().toHexDigits(Double.doubleToRawLongBits(number));
    } else if (value instanceof byte[] octets) {
      return HexFormat.of().formatHex(octets);
    } else if (value instanceof BigDecimal number) {
      return number.toPlainString();
    } else if (value instanceof PgInterval interval) {
      return List.of(interval.months(), interval.days(), interval.micros());
    } else if (value instanceof LocalDate date) {
      return date.getYear() < 1 || date.getYear() > 9999 ? (Object) date.toEpochDay() : date.toString();
    } else if (value instanceof LocalTime time) {
      return clock(time);
    } else if (value instanceof LocalDateTime moment) {
      return moment(moment, "");
    } else if (value instanceof Instant moment) {
      return moment(LocalDateTime.ofInstant(moment, ZoneOffset.UTC), "Z");
    }
    return value instanceof Boolean ? value : value.toString();
  }

  private static Object moment(LocalDateTime moment, String zone) {
    if (moment.getYear() < 1 || moment.getYear() > 9999) {
      return List.of(moment.toEpochSecond(ZoneOffset.UTC), moment.getNano() / 1000);
    }
    return moment.toLocalDate() + "T" + clock(moment.toLocalTime()) + zone;
  }

  private static String clock(LocalTime time) {
    String whole = "%02d:%02d:%02d".formatted(time.getHour(), time.getMinute(), time.getSecond());
    return time.getNano() == 0 ? whole : whole + ".%06d".formatted(time.getNano() / 1000);
  }
}
