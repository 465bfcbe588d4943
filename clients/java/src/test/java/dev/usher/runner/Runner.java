package dev.usher.runner;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import dev.usher.Row;
import dev.usher.RowStream;
import dev.usher.Scope;
import dev.usher.Statement;
import dev.usher.Token;
import dev.usher.TokenSource;
import dev.usher.UsherClient;
import dev.usher.UsherException;
import dev.usher.v1.IsolationLevel;
import dev.usher.v1.Key;
import dev.usher.v1.StreamSummary;
import dev.usher.v1.WhoAmIResponse;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
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
      return Map.of("error", shown(error));
    }
  }

  private static Map<String, Object> shown(UsherException error) {
    Map<String, Object> shown = new LinkedHashMap<>();
    shown.put("code", error.code().name());
    shown.put("reason", error.reason());
    shown.put("sqlstate", error.sqlState());
    shown.put("retryable", error.retryable());
    shown.put("fields", new TreeSet<>(error.fields().keySet()));
    if (error.statementIndex() != null) {
      shown.put("statement_index", error.statementIndex());
    }
    return shown;
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
      case "stream":
        return stream(request);
      case "transaction":
        return transaction(request);
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
    Scope scope = configured(request);
    Object[] parameters = parameters(request);
    Future<?> cancelling = null;
    if (request.has("cancel_after")) {
      long after = seconds(request, "cancel_after").toMillis();
      cancelling = timer.schedule(Thread.currentThread()::interrupt, after, TimeUnit.MILLISECONDS);
    }
    try {
      return Cells.shown(
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

  private Object stream(JsonObject request) {
    int stopAfter = request.has("stop_after") ? request.get("stop_after").getAsInt() : -1;
    List<List<Object>> rows = new ArrayList<>();
    try (RowStream stream = begun(request)) {
      for (Row row : stream) {
        rows.add(Cells.row(row, stream.columns()));
        if (rows.size() == stopAfter) {
          return Map.of("rows", rows, "stopped", true);
        }
      }
      StreamSummary said = stream.summary();
      Map<String, Object> summary =
          Map.of("row_count", said.getRowCount(), "truncated", said.getTruncated(), "command_tag", said.getCommandTag());
      return Map.of("columns", Cells.columns(stream.columns()), "rows", rows, "summary", summary);
    } catch (UsherException error) {
      return Map.of("rows", rows, "error", shown(error));
    }
  }

  private RowStream begun(JsonObject request) {
    Scope scope = configured(request);
    return request.has("statement")
        ? scope.streamStatement(text(request, "statement"), parameters(request))
        : scope.stream(text(request, "sql"), parameters(request));
  }

  private Object transaction(JsonObject request) {
    List<Statement> statements = new ArrayList<>();
    for (JsonElement element : request.getAsJsonArray("statements")) {
      JsonObject one = element.getAsJsonObject();
      Statement made =
          one.has("statement")
              ? Statement.named(text(one, "statement"), parameters(one))
              : Statement.sql(text(one, "sql"), parameters(one));
      statements.add(one.has("max_rows") ? made.maxRows(one.get("max_rows").getAsLong()) : made);
    }
    return Map.of("results", configured(request).transaction(statements).stream().map(Cells::shown).toList());
  }

  /** The scope with the options of the request. */
  private Scope configured(JsonObject request) {
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
    if (request.has("isolation")) {
      String level = text(request, "isolation").toUpperCase(Locale.ROOT).replace(' ', '_');
      scope = scope.isolation(IsolationLevel.valueOf("ISOLATION_LEVEL_" + level));
    }
    return scope;
  }

  private static Object[] parameters(JsonObject request) {
    List<Object> given = new ArrayList<>();
    if (request.has("params")) {
      request.getAsJsonArray("params").forEach(value -> given.add(Cells.value(value)));
    }
    return given.toArray();
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
}
