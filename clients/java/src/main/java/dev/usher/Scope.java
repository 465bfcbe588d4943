package dev.usher;

import dev.usher.v1.IsolationLevel;
import dev.usher.v1.QueryOptions;
import dev.usher.v1.QueryServiceGrpc;
import dev.usher.v1.RunScopedQueryRequest;
import dev.usher.v1.RunScopedTransactionRequest;
import dev.usher.v1.ScopedStatement;
import dev.usher.v1.StreamOptions;
import dev.usher.v1.StreamScopedQueryRequest;
import dev.usher.v1.StreamScopedQueryResponse;
import dev.usher.v1.StreamSummary;
import dev.usher.v1.TransactionOptions;
import dev.usher.v1.WhoAmIRequest;
import dev.usher.v1.WhoAmIResponse;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * Whose rows a statement sees, and how statements run. Made by {@link UsherClient#asUser} and
 * {@link UsherClient#withToken}; immutable: each option gives another scope.
 */
public final class Scope {
  private static final Duration STREAM_TIMEOUT = Duration.ofMinutes(10);

  private final Calls calls;
  private final dev.usher.v1.Scope user;
  private final QueryOptions options;
  private final IsolationLevel isolation;
  private final Duration timeout;
  private final Duration streamTimeout;

  Scope(Calls calls, dev.usher.v1.Scope user, Duration timeout) {
    this(
        calls, user, QueryOptions.getDefaultInstance(), IsolationLevel.ISOLATION_LEVEL_UNSPECIFIED,
        timeout, STREAM_TIMEOUT);
  }

  private Scope(
      Calls calls, dev.usher.v1.Scope user, QueryOptions options, IsolationLevel isolation,
      Duration timeout, Duration streamTimeout) {
    this.calls = calls;
    this.user = user;
    this.options = options;
    this.isolation = isolation;
    this.timeout = timeout;
    this.streamTimeout = streamTimeout;
  }

  /** Statements run in READ ONLY transactions, and the client may repeat them. */
  public Scope readOnly() {
    return with(options.toBuilder().setReadOnly(true));
  }

  /** The most rows to return; the result says whether there were more. */
  public Scope maxRows(long rows) {
    return with(options.toBuilder().setMaxRows(Values.rows(rows)));
  }

  /** How much a transaction sees of what others commit meanwhile; READ COMMITTED unless given. */
  public Scope isolation(IsolationLevel level) {
    return new Scope(calls, user, options, level, timeout, streamTimeout);
  }

  /** The longest run time in Postgres; of a transaction for each statement, of a stream for each portion of rows. */
  public Scope statementTimeout(Duration longest) {
    return with(options.toBuilder().setStatementTimeout(Values.duration(longest)));
  }

  /** The deadline of each call, and of a stream, which has 10 minutes otherwise. */
  public Scope timeout(Duration timeout) {
    return new Scope(calls, user, options, isolation, timeout, timeout);
  }

  private Scope with(QueryOptions.Builder options) {
    return new Scope(calls, user, options.build(), isolation, timeout, streamTimeout);
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
    return start(Statement.sql(sql, parameters));
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
    return start(Statement.named(statement, parameters));
  }

  /**
   * The rows of a reading statement, any number of them, as fast as they are taken. It waits for the columns.
   * Close it, unless it is gone through to its end.
   *
   * @throws UsherException when it is refused
   */
  public RowStream stream(String sql, Object... parameters) {
    return stream(Statement.sql(sql, parameters));
  }

  /**
   * {@link #stream} without waiting: each row is given to {@code each}, and no more are fetched while that
   * takes. Cancelling the future, or an exception of {@code each}, which the future has then, ends the statement.
   */
  public CompletableFuture<StreamSummary> streamAsync(Consumer<? super Row> each, String sql, Object... parameters) {
    return startStream(each, Statement.sql(sql, parameters));
  }

  /**
   * The rows of a named statement that reads, as of {@link #stream}.
   *
   * @throws UsherException when it is refused
   */
  public RowStream streamStatement(String statement, Object... parameters) {
    return stream(Statement.named(statement, parameters));
  }

  /** {@link #streamStatement} without waiting, as of {@link #streamAsync}. */
  public CompletableFuture<StreamSummary> streamStatementAsync(
      Consumer<? super Row> each, String statement, Object... parameters) {
    return startStream(each, Statement.named(statement, parameters));
  }

  /**
   * Runs statements one after the other in one transaction: all of them, or none. The client repeats it only where
   * the scope is {@link #readOnly}.
   *
   * @throws UsherException when one fails; its {@link UsherException#statementIndex} says which one
   */
  public List<Result> transaction(List<Statement> statements) {
    return Calls.await(transactionAsync(statements));
  }

  /** {@link #transaction} without waiting. */
  public CompletableFuture<List<Result>> transactionAsync(List<Statement> statements) {
    return calls.start(
        QueryServiceGrpc.getRunScopedTransactionMethod(), timeout, options.getReadOnly(),
        () -> {
          TransactionOptions.Builder how = TransactionOptions.newBuilder();
          how.setIsolationLevel(isolation).setReadOnly(options.getReadOnly());
          if (options.hasStatementTimeout()) {
            how.setStatementTimeout(options.getStatementTimeout());
          }
          RunScopedTransactionRequest.Builder request = RunScopedTransactionRequest.newBuilder();
          for (Statement statement : statements) {
            String place = "statements[" + request.getStatementsCount() + "].";
            request.addStatements(statement.message(place, options.getMaxRows()));
          }
          return request.setScope(user).setOptions(how).build();
        },
        it -> it.getResultsList().stream().map(Result::new).toList());
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

  private CompletableFuture<Result> start(Statement statement) {
    return calls.start(
        QueryServiceGrpc.getRunScopedQueryMethod(), timeout, options.getReadOnly(),
        () -> {
          ScopedStatement sent = statement.message("", 0);
          return RunScopedQueryRequest.newBuilder()
              .setScope(user).setSql(sent.getSql()).setStatement(sent.getStatement())
              .addAllParameters(sent.getParametersList()).setOptions(options).build();
        },
        Result::new);
  }

  private RowStream stream(Statement statement) {
    StreamScopedQueryRequest request = streamed(statement);
    return new RowStream(calls.stream(QueryServiceGrpc.getStreamScopedQueryMethod(), streamTimeout, request));
  }

  private CompletableFuture<StreamSummary> startStream(Consumer<? super Row> each, Statement statement) {
    Chunks chunks = new Chunks();
    return calls.start(
        QueryServiceGrpc.getStreamScopedQueryMethod(), streamTimeout, true, () -> streamed(statement),
        new Calls.Answer<>() {
          @Override
          public void next(StreamScopedQueryResponse part) {
            chunks.rows(part).forEach(each);
          }

          @Override
          public StreamSummary end() {
            return chunks.summary();
          }
        });
  }

  private StreamScopedQueryRequest streamed(Statement statement) {
    ScopedStatement sent = statement.message("", 0);
    StreamOptions.Builder how = StreamOptions.newBuilder();
    how.setMaxRows(Integer.toUnsignedLong(options.getMaxRows()));
    if (options.hasStatementTimeout()) {
      how.setStatementTimeout(options.getStatementTimeout());
    }
    return StreamScopedQueryRequest.newBuilder()
        .setScope(user).setSql(sent.getSql()).setStatement(sent.getStatement())
        .addAllParameters(sent.getParametersList()).setOptions(how).build();
  }
}
