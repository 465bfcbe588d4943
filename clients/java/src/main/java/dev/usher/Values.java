package dev.usher;

import com.google.protobuf.ByteString;
import com.google.protobuf.ListValue;
import com.google.protobuf.NullValue;
import com.google.protobuf.Struct;
import dev.usher.v1.ArrayValue;
import dev.usher.v1.ColumnData;
import dev.usher.v1.Interval;
import dev.usher.v1.IntervalData;
import dev.usher.v1.Kind;
import dev.usher.v1.Timestamp;
import dev.usher.v1.TimestampData;
import dev.usher.v1.Value;
import io.grpc.Status;
import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoField;
import java.time.temporal.TemporalAccessor;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.IntFunction;

/** Values of Postgres as Java's own, exactly, both ways. The table is in clients/CONTRACT.md. */
final class Values {
  private static final BigDecimal EXACT = BigDecimal.valueOf((1L << 53) - 1);
  private static final long DAY_MICROS = 86_400_000_000L;

  private Values() {}

  /** A text that UTF-8 holds; protobuf would send another one. */
  static String text(String value, String place) {
    if (value == null || value.codePoints().anyMatch(it -> Character.getType(it) == Character.SURROGATE)) {
      throw UsherException.invalid(place + ": it must be well-formed text");
    }
    return value;
  }

  static com.google.protobuf.Duration duration(Duration value) {
    return com.google.protobuf.Duration.newBuilder().setSeconds(value.getSeconds()).setNanos(value.getNano()).build();
  }

  /** A limit of rows as it is sent. */
  static int rows(long value) {
    if (value < 0 || value >= 1L << 32) {
      throw UsherException.invalid("maxRows: a number of rows from 0 (the server's default) to 2^32 - 1");
    }
    return (int) value;
  }

  static Instant instant(com.google.protobuf.Timestamp value) {
    return Instant.ofEpochSecond(value.getSeconds(), value.getNanos());
  }

  /** A parameter's message. What is finer than a microsecond is cut off. */
  static Value parameter(Object value, String place) {
    Value.Builder sent = Value.newBuilder();
    if (value == null) {
      return sent.build();
    } else if (value instanceof Boolean it) {
      sent.setBoolValue(it);
    } else if (value instanceof Long || value instanceof Integer || value instanceof Short || value instanceof Byte) {
      sent.setIntValue(((Number) value).longValue());
    } else if (value instanceof BigInteger it) {
      if (it.bitLength() < Long.SIZE) {
        sent.setIntValue(it.longValue());
      } else {
        sent.setNumericValue(it.toString());
      }
    } else if (value instanceof Double || value instanceof Float) {
      sent.setFloatValue(((Number) value).doubleValue());
    } else if (value instanceof BigDecimal it) {
      sent.setNumericValue(it.toString());
    } else if (value instanceof String it) {
      sent.setTextValue(text(it, place));
    } else if (value instanceof Special it) {
      sent.setTextValue(it.toString());
    } else if (value instanceof Enum<?> it) {
      sent.setTextValue(it.name());
    } else if (value instanceof Json it) {
      sent.setJsonValue(text(it.text(), place));
    } else if (value instanceof byte[] it) {
      sent.setBytesValue(ByteString.copyFrom(it));
    } else if (value instanceof UUID it) {
      ByteBuffer octets = ByteBuffer.allocate(16).putLong(it.getMostSignificantBits());
      sent.setUuidValue(ByteString.copyFrom(octets.putLong(it.getLeastSignificantBits()).flip()));
    } else if (value instanceof LocalDate it) {
      if (Math.abs(it.toEpochDay()) >= Integer.MAX_VALUE) {
        throw UsherException.invalid(place + ": no date of Postgres is so far away");
      }
      sent.setDateValue((int) it.toEpochDay());
    } else if (value instanceof LocalTime it) {
      sent.setTimeValue(it.toNanoOfDay() / 1000);
    } else if (value instanceof LocalDateTime it) {
      sent.setTimestampValue(timestamp(it.toEpochSecond(ZoneOffset.UTC), it.getNano()));
    } else if (value instanceof TemporalAccessor it && it.isSupported(ChronoField.INSTANT_SECONDS)) {
      sent.setTimestampValue(timestamp(it.getLong(ChronoField.INSTANT_SECONDS), it.get(ChronoField.NANO_OF_SECOND)));
    } else if (value instanceof Duration it) {
      sent.setIntervalValue(interval(0, 0, micros(it, place)));
    } else if (value instanceof PgInterval it) {
      sent.setIntervalValue(interval(it.months(), it.days(), it.micros()));
    } else if (value instanceof Collection<?> || value.getClass().isArray()) {
      sent.setArrayValue(array(value instanceof Collection<?> it ? it.toArray() : value, place));
    } else {
      String name = value.getClass().getName();
      throw UsherException.invalid(place + ": " + name + " is no type that is sent; wrap JSON in dev.usher.Json");
    }
    return sent.build();
  }

  private static long micros(Duration value, String place) {
    try {
      return Math.addExact(Math.multiplyExact(value.getSeconds(), 1_000_000L), value.getNano() / 1000);
    } catch (ArithmeticException tooLong) {
      throw UsherException.invalid(place + ": no interval of Postgres is so long");
    }
  }

  private static Timestamp.Builder timestamp(long seconds, int nanos) {
    return Timestamp.newBuilder().setSeconds(seconds).setMicros(nanos / 1000);
  }

  private static Interval.Builder interval(int months, int days, long micros) {
    return Interval.newBuilder().setMonths(months).setDays(days).setMicros(micros);
  }

  private static ArrayValue.Builder array(Object items, String place) {
    ArrayValue.Builder made = ArrayValue.newBuilder();
    for (int at = 0; at < Array.getLength(items); at++) {
      made.addElements(parameter(Array.get(items, at), place + "[" + at + "]"));
    }
    return made;
  }

  /** The values of a column, null for NULL. */
  static List<Object> column(Kind kind, Kind elementKind, ColumnData data, int rows) {
    IntFunction<Object> read = kind == Kind.KIND_ARRAY ? arrays(elementKind, data) : reader(kind, data);
    ByteString nulls = data.getNulls();
    List<Object> cells = new ArrayList<>(rows);
    for (int row = 0; row < rows; row++) {
      boolean isNull = row >> 3 < nulls.size() && (nulls.byteAt(row >> 3) >> (row & 7) & 1) == 1;
      cells.add(isNull ? null : read.apply(row));
    }
    return Collections.unmodifiableList(cells);
  }

  private static IntFunction<Object> arrays(Kind elementKind, ColumnData data) {
    List<Integer> lengths = data.getArrays().getLengthsList();
    int[] ends = new int[lengths.size() + 1];
    for (int row = 0; row < lengths.size(); row++) {
      ends[row + 1] = ends[row] + lengths.get(row);
    }
    List<Object> all = column(elementKind, null, data.getArrays().getElements(), ends[lengths.size()]);
    return row -> all.subList(ends[row], ends[row + 1]);
  }

  private static IntFunction<Object> reader(Kind kind, ColumnData data) {
    TimestampData moments = data.getTimestamps();
    IntervalData parts = data.getIntervals();
    return switch (kind) {
      case KIND_BOOL -> data::getBools;
      case KIND_INT -> data::getInts;
      case KIND_FLOAT -> data::getFloats;
      case KIND_BYTES -> row -> data.getBlobs(row).toByteArray();
      case KIND_UUID -> row -> uuid(data.getBlobs(row).asReadOnlyByteBuffer());
      case KIND_NUMERIC -> row -> numeric(data.getTexts(row));
      case KIND_JSON -> row -> new Json(data.getTexts(row));
      case KIND_DATE -> row -> date(data.getDates(row));
      case KIND_TIME -> row -> time(data.getTimes(row));
      case KIND_TIMESTAMP -> row -> moment(moments.getSeconds(row), moments.getMicros(row), false);
      case KIND_TIMESTAMPTZ -> row -> moment(moments.getSeconds(row), moments.getMicros(row), true);
      case KIND_INTERVAL -> row -> new PgInterval(parts.getMonths(row), parts.getDays(row), parts.getMicros(row));
      default -> data::getTexts;
    };
  }

  private static UUID uuid(ByteBuffer octets) {
    return new UUID(octets.getLong(), octets.getLong());
  }

  private static Object numeric(String text) {
    return switch (text) {
      case "NaN" -> Special.NAN;
      case "Infinity" -> Special.INFINITY;
      case "-Infinity" -> Special.NEGATIVE_INFINITY;
      default -> new BigDecimal(text);
    };
  }

  private static Object date(int days) {
    return switch (days) {
      case Integer.MAX_VALUE -> Special.INFINITY;
      case Integer.MIN_VALUE -> Special.NEGATIVE_INFINITY;
      default -> LocalDate.ofEpochDay(days);
    };
  }

  private static Object time(long micros) {
    return micros == DAY_MICROS ? Special.END_OF_DAY : LocalTime.ofNanoOfDay(micros * 1000);
  }

  private static Object moment(long seconds, int micros, boolean utc) {
    if (seconds == Long.MAX_VALUE || seconds == Long.MIN_VALUE) {
      return seconds > 0 ? Special.INFINITY : Special.NEGATIVE_INFINITY;
    }
    return utc
        ? Instant.ofEpochSecond(seconds, micros * 1000L)
        : LocalDateTime.ofEpochSecond(seconds, micros * 1000, ZoneOffset.UTC);
  }

  /** Claims as a message; null is none. */
  static Struct claims(Map<?, ?> claims) {
    Struct.Builder made = Struct.newBuilder();
    if (claims == null) {
      return made.build();
    }
    claims.forEach(
        (name, value) -> made.putFields(text(name instanceof String it ? it : null, "claims"), claim(value)));
    return made.build();
  }

  private static com.google.protobuf.Value claim(Object value) {
    com.google.protobuf.Value.Builder made = com.google.protobuf.Value.newBuilder();
    if (value == null) {
      made.setNullValue(NullValue.NULL_VALUE);
    } else if (value instanceof Boolean it) {
      made.setBoolValue(it);
    } else if (value instanceof String it) {
      made.setStringValue(text(it, "claims"));
    } else if (value instanceof Number it) {
      made.setNumberValue(number(it));
    } else if (value instanceof Map<?, ?> it) {
      made.setStructValue(claims(it));
    } else if (value instanceof Collection<?> it) {
      ListValue.Builder items = ListValue.newBuilder();
      it.forEach(item -> items.addValues(claim(item)));
      made.setListValue(items);
    } else {
      throw UsherException.invalid("claims: values are null, Boolean, Number, String, Collection or Map");
    }
    return made.build();
  }

  private static double number(Number value) {
    try {
      BigDecimal meant = new BigDecimal(value.toString());
      BigDecimal sent = BigDecimal.valueOf(Double.parseDouble(value.toString()));
      boolean whole = meant.stripTrailingZeros().scale() <= 0;
      if (sent.compareTo(meant) == 0 && !(whole && meant.abs().compareTo(EXACT) > 0)) {
        return sent.doubleValue();
      }
    } catch (NumberFormatException notFinite) {
      throw UsherException.invalid("claims: a number must be finite");
    }
    String message = "claims: this number, or an integer beyond 2^53 - 1, would be rounded; send it as text";
    throw new UsherException(Status.Code.INVALID_ARGUMENT, "CLAIM_NOT_EXACT", message, null);
  }

  /** Claims from a message: whole numbers are Long again. */
  static Map<String, Object> claims(Struct message) {
    Map<String, Object> made = new LinkedHashMap<>();
    message.getFieldsMap().forEach((name, value) -> made.put(name, claim(value)));
    return Collections.unmodifiableMap(made);
  }

  private static Object claim(com.google.protobuf.Value value) {
    return switch (value.getKindCase()) {
      case BOOL_VALUE -> value.getBoolValue();
      case STRING_VALUE -> value.getStringValue();
      case NUMBER_VALUE -> whole(value.getNumberValue());
      case STRUCT_VALUE -> claims(value.getStructValue());
      case LIST_VALUE -> {
        List<Object> items = new ArrayList<>();
        value.getListValue().getValuesList().forEach(item -> items.add(claim(item)));
        yield Collections.unmodifiableList(items);
      }
      default -> null;
    };
  }

  private static Object whole(double number) {
    boolean exact = number == Math.rint(number) && Math.abs(number) <= EXACT.doubleValue();
    if (exact) {
      return (long) number;
    }
    return number;
  }
}
