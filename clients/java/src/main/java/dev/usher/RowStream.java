package dev.usher;

import dev.usher.v1.Column;
import dev.usher.v1.StreamScopedQueryResponse;
import dev.usher.v1.StreamSummary;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;

/**
 * Rows, fetched as they are asked for, which waits; they are gone through once, by one thread at a time. An error
 * comes after the rows before it. Closing it before its end, or interrupting a thread that waits, ends the statement
 * in Postgres.
 */
public final class RowStream implements Iterator<Row>, Iterable<Row>, AutoCloseable {
  private final Messages<StreamScopedQueryResponse> parts;
  private final Chunks chunks = new Chunks();
  private Iterator<Row> rows = Collections.emptyIterator();
  private StreamSummary summary;

  RowStream(Messages<StreamScopedQueryResponse> parts) {
    this.parts = parts;
    if (parts.hasNext()) {
      chunks.rows(parts.next());
    }
  }

  /** Name, Postgres type and kind of each column. */
  public List<Column> columns() {
    return chunks.columns();
  }

  /** What was given; null before the end. */
  public StreamSummary summary() {
    return summary;
  }

  /**
   * Whether there is another row.
   *
   * @throws UsherException when the stream fails
   */
  @Override
  public boolean hasNext() {
    while (!rows.hasNext() && parts.hasNext()) {
      rows = chunks.rows(parts.next()).iterator();
    }
    if (!rows.hasNext() && !parts.closed()) {
      summary = chunks.summary();
    }
    return rows.hasNext();
  }

  @Override
  public Row next() {
    if (!hasNext()) {
      throw new NoSuchElementException("the stream has ended");
    }
    return rows.next();
  }

  /** This stream: a loop goes through what is left of it. */
  @Override
  public Iterator<Row> iterator() {
    return this;
  }

  /** Ends the stream. */
  @Override
  public void close() {
    rows = Collections.emptyIterator();
    parts.close();
  }
}
