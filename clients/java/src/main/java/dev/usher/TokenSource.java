package dev.usher;

import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;

/**
 * Gives the same token until shortly before it expires. Callers at the same time share one request.
 * Made by {@link UsherClient#tokenSource}.
 */
public final class TokenSource {
  private static final Duration LONGEST_MARGIN = Duration.ofMinutes(1);

  private final Supplier<CompletableFuture<Token>> issue;
  private CompletableFuture<Token> latest;
  private long askedAt;

  TokenSource(Supplier<CompletableFuture<Token>> issue) {
    this.issue = issue;
  }

  /**
   * A token that is good for a while.
   *
   * @throws UsherException when a new one was needed and not given
   */
  public Token token() {
    return Calls.await(tokenAsync());
  }

  /** {@link #token()} without waiting. */
  public synchronized CompletableFuture<Token> tokenAsync() {
    if (latest == null || isOver()) {
      askedAt = System.nanoTime();
      latest = issue.get();
    }
    return latest.copy(); // who cancels it leaves the others theirs
  }

  private boolean isOver() {
    if (!latest.isDone()) {
      return false;
    }
    if (latest.isCompletedExceptionally()) {
      return true;
    }
    Token token = latest.join();
    Duration life = Duration.between(token.issueTime(), token.expireTime());
    Duration tenth = life.dividedBy(10);
    Duration margin = tenth.compareTo(LONGEST_MARGIN) < 0 ? tenth : LONGEST_MARGIN;
    return System.nanoTime() - askedAt >= life.minus(margin).toNanos();
  }
}
