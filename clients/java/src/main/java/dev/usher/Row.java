package dev.usher;

import java.util.AbstractList;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.RandomAccess;

/**
 * A view of one row: its values in order, or by column name. NULL is null; the other types are in
 * clients/CONTRACT.md.
 */
public final class Row extends AbstractList<Object> implements RandomAccess {
  private final Result result;
  private final int row;

  Row(Result result, int row) {
    this.result = result;
    this.row = row;
  }

  /**
   * The value of a column; of several with one name the first.
   *
   * @throws NoSuchElementException when no column has this name
   */
  public Object get(String column) {
    Integer position = result.positions.get(column);
    if (position == null) {
      throw new NoSuchElementException("there is no such column");
    }
    return get(position.intValue());
  }

  /**
   * The value of a column as its type, such as {@code row.get("id", Long.class)}.
   *
   * @throws ClassCastException when it is of another type
   */
  public <T> T get(String column, Class<T> type) {
    return type.cast(get(column));
  }

  /** {@link #get(String, Class)} by position. */
  public <T> T get(int column, Class<T> type) {
    return type.cast(get(column));
  }

  /** The values by column name, in their order. */
  public Map<String, Object> toMap() {
    Map<String, Object> made = new LinkedHashMap<>();
    result.columns().forEach(column -> made.put(column.getName(), get(column.getName())));
    return made;
  }

  @Override
  public Object get(int column) {
    return result.data.get(column).get(row);
  }

  @Override
  public int size() {
    return result.data.size();
  }
}
