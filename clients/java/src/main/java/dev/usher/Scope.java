package dev.usher;

import dev.usher.v1.QueryOptions;
import dev.usher.v1.QueryServiceGrpc;
import dev.usher.v1.RunScopedQueryRequest;
import dev.usher.v1.WhoAmIRequest;
import dev.usher.v1.WhoAmIResponse;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/**
 * Whose rows a statement sees, and how statements run. Made by {@link UsherClient#asUser} and
 * {@link UsherClient#withToken}; immutable: each option gives another scope.
 */
public final class Scope {
  private final Calls calls;
  private final dev.usher.v1.Scope user;
  private final QueryOptions options;
  private final Duration timeout;

  Scope(Calls calls, dev.usher.v1.Scope user, QueryOptions options, Duration timeout) {
    this.calls = calls;
    this.user = user;
    this.options = options;
    this.timeout = timeout;
  }

  /** Statements run in READ ONLY transactions, and the client may repeat them. */
  public Scope readOnly() {
    return with(options.toBuilder().setReadOnly(true));
  }

  /** The most rows to return; the result says whether there were more. */
  public Scope maxRows(long rows) {
    if (rows < 0 || rows >= 1L << 32) {
      throw UsherException.invalid("maxRows: a number of rows from 0 (the server's default) to 2^32 - 1");
    }
    return with(options.toBuilder().setMaxRows((int) rows));
  }

  /** The longest run time in Postgres. */
  public Scope statementTimeout(Duration longest) {
    return with(options.toBuilder().setStatementTimeout(Values.duration(longest)));
  }

  /** The deadline of each call. */
  public Scope timeout(Duration timeout) {
    return new Scope(calls, user, options, timeout);
  }

  private Scope with(QueryOptions.Builder options) {
    return new Scope(calls, user, options.build(), timeout);
  }

  /**
   * Runs one statement.
   *
   * @throws UsherException when it is refused or fails
   */
  public Result query(String sql, Object... parameters) {
    return Calls.await(queryAsync(sql, parameters));
  }

  /** {@link #query} without waiting; cancelling the future cancels the statement. */
  public CompletableFuture<Result> queryAsync(String sql, Object... parameters) {
    return start(parameters, request -> request.setSql(Values.text(sql, "sql")));
  }

  /**
   * Runs a named statement.
   *
   * @throws UsherException when it is refused or fails
   */
  public Result run(String statement, Object... parameters) {
    return Calls.await(runAsync(statement, parameters));
  }

  /** {@link #run} without waiting. */
  public CompletableFuture<Result> runAsync(String statement, Object... parameters) {
    return start(parameters, request -> request.setStatement(Values.text(statement, "statement")));
  }

  /**
   * What Postgres sees in this scope.
   *
   * @throws UsherException when the call fails
   */
  public WhoAmIResponse whoAmI() {
    return Calls.await(whoAmIAsync());
  }

  /** {@link #whoAmI} without waiting. */
  public CompletableFuture<WhoAmIResponse> whoAmIAsync() {
    return calls.start(
        QueryServiceGrpc.getWhoAmIMethod(), timeout, true,
        () -> WhoAmIRequest.newBuilder().setScope(user).build(), Function.identity());
  }

  private CompletableFuture<Result> start(
      Object[] parameters, Function<RunScopedQueryRequest.Builder, RunScopedQueryRequest.Builder> statement) {
    // `query(sql, null)` is an array that is null; who wrote it meant one NULL.
    List<?> values = parameters == null ? Collections.singletonList(null) : Arrays.asList(parameters);
    return calls.start(
        QueryServiceGrpc.getRunScopedQueryMethod(), timeout, options.getReadOnly(),
        () -> {
          RunScopedQueryRequest.Builder request = RunScopedQueryRequest.newBuilder();
          request.setScope(user).setOptions(options);
          for (int at = 0; at < values.size(); at++) {
            request.addParameters(Values.parameter(values.get(at), "parameters[" + at + "]"));
          }
          return statement.apply(request).build();
        },
        Result::new);
  }
}
