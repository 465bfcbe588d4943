package dev.usher;

import dev.usher.v1.Column;
import dev.usher.v1.RunScopedQueryResponse;
import java.util.AbstractList;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.RandomAccess;

/** The rows of a statement, kept as columns. */
public final class Result extends AbstractList<Row> implements RandomAccess {
  final List<List<Object>> data = new ArrayList<>();
  final Map<String, Integer> positions = new HashMap<>();
  private final List<Column> columns;
  private final int size;
  private final boolean truncated;
  private final String commandTag;
  private final long affectedRows;

  Result(RunScopedQueryResponse response) {
    columns = response.getColumnsList();
    size = response.getRowCount();
    truncated = response.getTruncated();
    commandTag = response.getCommandTag();
    affectedRows = response.getAffectedRows();
    for (Column column : columns) {
      positions.putIfAbsent(column.getName(), data.size());
      data.add(Values.column(column.getKind(), column.getElementKind(), response.getData(data.size()), size));
    }
  }

  /** Name, Postgres type and kind of each column. */
  public List<Column> columns() {
    return columns;
  }

  /** Whether there were more rows than the limit. */
  public boolean truncated() {
    return truncated;
  }

  /** Postgres' command tag, such as "SELECT 3" or "UPDATE 1". */
  public String commandTag() {
    return commandTag;
  }

  /** The rows that the command tag counts. */
  public long affectedRows() {
    return affectedRows;
  }

  @Override
  public Row get(int row) {
    if (row < 0 || row >= size) {
      throw new IndexOutOfBoundsException("there is no such row");
    }
    return new Row(this, row);
  }

  @Override
  public int size() {
    return size;
  }
}
