package dev.usher;

/** What Postgres knows and no type of Java holds. As a parameter it fits every type that has it. */
public enum Special {
  /** NaN as a numeric. */
  NAN("NaN"),
  /** Infinity as a numeric, date or timestamp. */
  INFINITY("Infinity"),
  /** Minus infinity as a numeric, date or timestamp. */
  NEGATIVE_INFINITY("-Infinity"),
  /** The time 24:00:00. */
  END_OF_DAY("24:00:00");

  private final String text;

  Special(String text) {
    this.text = text;
  }

  /** The text form of Postgres. */
  @Override
  public String toString() {
    return text;
  }
}
