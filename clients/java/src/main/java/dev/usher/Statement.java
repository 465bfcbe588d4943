package dev.usher;

import dev.usher.v1.ScopedStatement;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/** A statement of a transaction. Immutable. */
public final class Statement {
  private final String sql;
  private final String name;
  private final List<?> parameters;
  private final int maxRows;

  private Statement(String sql, String name, List<?> parameters, int maxRows) {
    this.sql = sql;
    this.name = name;
    this.parameters = parameters;
    this.maxRows = maxRows;
  }

  /** One SQL statement. */
  public static Statement sql(String sql, Object... parameters) {
    return new Statement(sql, "", values(parameters), 0);
  }

  /** A statement that the server holds. */
  public static Statement named(String name, Object... parameters) {
    return new Statement("", name, values(parameters), 0);
  }

  /** The most rows to return, instead of the scope's; the result says whether there were more. */
  public Statement maxRows(long rows) {
    return new Statement(sql, name, parameters, Values.rows(rows));
  }

  // `query(sql, null)` is an array that is null; who wrote it meant one NULL.
  private static List<?> values(Object[] parameters) {
    return parameters == null ? Collections.singletonList(null) : Arrays.asList(parameters);
  }

  /** What is sent, with the scope's limit of rows unless it has its own. Errors name a field after `place`. */
  ScopedStatement message(String place, int usualRows) {
    ScopedStatement.Builder made = ScopedStatement.newBuilder();
    made.setSql(Values.text(sql, place + "sql")).setStatement(Values.text(name, place + "statement"));
    for (int at = 0; at < parameters.size(); at++) {
      made.addParameters(Values.parameter(parameters.get(at), place + "parameters[" + at + "]"));
    }
    return made.setMaxRows(maxRows == 0 ? usualRows : maxRows).build();
  }
}
