package dev.usher;

import dev.usher.v1.Column;
import dev.usher.v1.RunScopedQueryResponse;
import dev.usher.v1.StreamScopedQueryResponse;
import dev.usher.v1.StreamSummary;
import java.util.List;

/** The messages of a stream as rows: the columns first, then rows, the summary last. */
final class Chunks {
  private List<Column> columns;
  private StreamSummary summary;

  /** The rows of the next message, which are none in the first and the last. */
  List<Row> rows(StreamScopedQueryResponse part) {
    if (columns == null) {
      columns = part.getColumnsList();
    }
    if (part.hasSummary()) {
      summary = part.getSummary();
      return List.of();
    }
    RunScopedQueryResponse.Builder chunk = RunScopedQueryResponse.newBuilder().setRowCount(part.getRowCount());
    if (part.getRowCount() > 0) {
      chunk.addAllColumns(columns).addAllData(part.getDataList());
    }
    return new Result(chunk.build());
  }

  List<Column> columns() {
    return columns == null ? List.of() : columns;
  }

  /** What the stream has given, at its end. Throws UsherException where it was cut. */
  StreamSummary summary() {
    if (summary == null) {
      throw UsherException.cut();
    }
    return summary;
  }
}
