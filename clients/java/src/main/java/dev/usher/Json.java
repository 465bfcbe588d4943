package dev.usher;

import java.util.Objects;

/** A json or jsonb as its text: digits, and in a json spaces and order, stay as they are. */
public record Json(String text) {
  /** Wraps the text; Postgres checks that it is JSON. */
  public Json {
    Objects.requireNonNull(text, "text");
  }

  @Override
  public String toString() {
    return text;
  }
}
