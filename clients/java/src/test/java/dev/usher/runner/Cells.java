package dev.usher.runner;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import dev.usher.Json;
import dev.usher.PgInterval;
import dev.usher.Result;
import dev.usher.Row;
import dev.usher.Special;
import dev.usher.v1.Column;
import dev.usher.v1.Kind;
import java.math.BigDecimal;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;

/** Values and results as the scenarios write them, by way of the client's own types. */
final class Cells {
  private Cells() {}

  /** A value of the scenarios as Java's. */
  static Object value(JsonElement element) {
    if (element.isJsonNull()) {
      return null;
    }
    Map.Entry<String, JsonElement> only = element.getAsJsonObject().entrySet().iterator().next();
    JsonElement content = only.getValue();
    String kind = only.getKey();
    if (kind.equals("array")) {
      List<Object> items = new ArrayList<>();
      content.getAsJsonArray().forEach(item -> items.add(value(item)));
      return items;
    } else if (kind.equals("interval")) {
      JsonArray parts = content.getAsJsonArray();
      return new PgInterval(parts.get(0).getAsInt(), parts.get(1).getAsInt(), parts.get(2).getAsLong());
    } else if (content.isJsonArray()) {
      Instant moment = instant(content.getAsJsonArray());
      return kind.equals("timestamp") ? LocalDateTime.ofInstant(moment, ZoneOffset.UTC) : moment;
    } else if (content.getAsJsonPrimitive().isNumber()) {
      return kind.equals("date") ? LocalDate.ofEpochDay(content.getAsLong()) : Special.END_OF_DAY;
    } else if (content.getAsString().matches("-?infinity|NaN|-?Infinity")) {
      return special(content.getAsString());
    }
    return scalar(kind, content);
  }

  private static Instant instant(JsonArray parts) {
    return Instant.ofEpochSecond(parts.get(0).getAsLong(), parts.get(1).getAsLong() * 1000);
  }

  private static Special special(String text) {
    return text.equals("NaN") ? Special.NAN : text.startsWith("-") ? Special.NEGATIVE_INFINITY : Special.INFINITY;
  }

  private static Object scalar(String kind, JsonElement content) {
    String text = content.getAsString();
    return switch (kind) {
      case "bool" -> content.getAsBoolean();
      case "int" -> Long.parseLong(text);
      case "float" -> Double.longBitsToDouble(Long.parseUnsignedLong(text, 16));
      case "bytes" -> HexFormat.of().parseHex(text);
      case "numeric" -> new BigDecimal(text);
      case "date" -> LocalDate.parse(text);
      case "time" -> LocalTime.parse(text);
      case "timestamp" -> LocalDateTime.parse(text);
      case "timestamptz" -> Instant.parse(text);
      case "uuid" -> UUID.fromString(text);
      case "json" -> new Json(text);
      default -> text;
    };
  }

  /** What a statement gave, as the scenarios have it. */
  static Map<String, Object> shown(Result result) {
    List<List<Object>> rows = new ArrayList<>();
    result.forEach(row -> rows.add(row(row, result.columns())));
    return Map.of(
        "columns", columns(result.columns()), "rows", rows, "truncated", result.truncated(),
        "command_tag", result.commandTag(), "affected_rows", result.affectedRows());
  }

  static List<List<Object>> columns(List<Column> columns) {
    List<List<Object>> shown = new ArrayList<>();
    columns.forEach(it -> shown.add(List.of(it.getName(), it.getTypeName(), it.getKind().name().substring(5))));
    return shown;
  }

  static List<Object> row(Row row, List<Column> columns) {
    List<Object> cells = new ArrayList<>();
    for (int at = 0; at < row.size(); at++) {
      Column column = columns.get(at);
      cells.add(shown(row.get(at), column.getKind(), column.getElementKind()));
    }
    return cells;
  }

  private static Object shown(Object value, Kind kind, Kind elementKind) {
    return value == null ? null : Map.of(lower(kind.name().substring(5)), content(value, kind, elementKind));
  }

  private static Object content(Object value, Kind kind, Kind elementKind) {
    if (value instanceof List<?> list) {
      List<Object> items = new ArrayList<>();
      list.forEach(item -> items.add(shown(item, elementKind, null)));
      return items;
    } else if (value instanceof Special special) {
      boolean number = kind == Kind.KIND_NUMERIC;
      return special == Special.END_OF_DAY ? (Object) 86_400_000_000L
          : number ? special.toString() : lower(special.toString());
    } else if (value instanceof Double number) {
      return HexFormat.of().toHexDigits(Double.doubleToRawLongBits(number));
    } else if (value instanceof byte[] octets) {
      return HexFormat.of().formatHex(octets);
    } else if (value instanceof BigDecimal number) {
      return number.toPlainString();
    } else if (value instanceof PgInterval interval) {
      return List.of(interval.months(), interval.days(), interval.micros());
    } else if (value instanceof LocalDate date) {
      return date.getYear() < 1 || date.getYear() > 9999 ? (Object) date.toEpochDay() : date.toString();
    } else if (value instanceof LocalTime time) {
      return clock(time);
    } else if (value instanceof LocalDateTime moment) {
      return moment(moment, "");
    } else if (value instanceof Instant moment) {
      return moment(LocalDateTime.ofInstant(moment, ZoneOffset.UTC), "Z");
    }
    return value instanceof Boolean ? value : value.toString();
  }

  private static Object moment(LocalDateTime moment, String zone) {
    if (moment.getYear() < 1 || moment.getYear() > 9999) {
      return List.of(moment.toEpochSecond(ZoneOffset.UTC), moment.getNano() / 1000);
    }
    return moment.toLocalDate() + "T" + clock(moment.toLocalTime()) + zone;
  }

  private static String clock(LocalTime time) {
    String whole = "%02d:%02d:%02d".formatted(time.getHour(), time.getMinute(), time.getSecond());
    return time.getNano() == 0 ? whole : whole + ".%06d".formatted(time.getNano() / 1000);
  }

  private static String lower(String text) {
    return text.toLowerCase(Locale.ROOT);
  }
}
