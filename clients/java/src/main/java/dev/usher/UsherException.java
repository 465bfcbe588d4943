package dev.usher;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** A call that was refused or failed. Branch on {@link #reason()}; the message is for people. */
public final class UsherException extends RuntimeException {
  private static final long serialVersionUID = 1;
  private static final Set<String> AGAIN =
      Set.of("SERIALIZATION_FAILURE", "DEADLOCK", "LOCK_NOT_AVAILABLE", "SHUTTING_DOWN");
  private static final Map<Status.Code, String> OWN =
      Map.of(
          Status.Code.UNAVAILABLE, "CLIENT_UNREACHABLE",
          Status.Code.DEADLINE_EXCEEDED, "CLIENT_DEADLINE",
          Status.Code.CANCELLED, "CLIENT_CANCELLED",
          Status.Code.RESOURCE_EXHAUSTED, "CLIENT_MESSAGE_TOO_LARGE");

  private final Status.Code code;
  private final String reason;
  private final TreeMap<String, String> metadata = new TreeMap<>();
  private final TreeMap<String, String> fields = new TreeMap<>();
  private Duration retryDelay;
  private boolean retryable;

  UsherException(Status.Code code, String reason, String message, Throwable cause) {
    super(reason + ": " + message, cause);
    this.code = code;
    this.reason = reason;
  }

  /** The same with the stack of whoever waited for it. */
  UsherException(UsherException other) {
    super(other.getMessage(), other.getCause());
    code = other.code;
    reason = other.reason;
    metadata.putAll(other.metadata);
    fields.putAll(other.fields);
    retryDelay = other.retryDelay;
    retryable = other.retryable;
  }

  /** The gRPC status, such as INVALID_ARGUMENT. */
  public Status.Code code() {
    return code;
  }

  /** One of docs/errors.md, or one that begins with CLIENT_ (clients/CONTRACT.md). */
  public String reason() {
    return reason;
  }

  /** The SQLSTATE of Postgres (Appendix A of its documentation); null when it was not Postgres that refused. */
  public String sqlState() {
    return metadata.get("sqlstate");
  }

  /** Which statement of a transaction failed, counted from 0; null when it was none of them. */
  public Integer statementIndex() {
    String index = metadata.get("statement_index");
    return index == null ? null : Integer.valueOf(index);
  }

  /** What the server's log knows the call by; null when it never got there. */
  public String requestId() {
    return metadata.get("request_id");
  }

  /** What the server says of the error, such as the table and the column. */
  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(metadata);
  }

  /** What is wrong, by field of the request. */
  public Map<String, String> fields() {
    return Collections.unmodifiableMap(fields);
  }

  /** How long the server asks to wait before another try; null when it does not. */
  public Duration retryDelay() {
    return retryDelay;
  }

  /** Whether the same call may succeed later without harm. */
  public boolean retryable() {
    return retryable;
  }

  static UsherException invalid(String message) {
    return new UsherException(Status.Code.INVALID_ARGUMENT, "CLIENT_INVALID", message, null);
  }

  static UsherException closed() {
    return new UsherException(Status.Code.CANCELLED, "CLIENT_CLOSED", "the client was closed; make a new one", null);
  }

  static UsherException cut() {
    String message = "the stream was cut: it ended without its summary";
    return new UsherException(Status.Code.INTERNAL, "CLIENT_OTHER", message, null);
  }

  /** What gRPC ended a call with. */
  static UsherException of(Throwable thrown, boolean repeatable) {
    Status status = Status.fromThrowable(thrown);
    ErrorInfo info = detail(thrown, ErrorInfo.class);
    String reason = info == null ? OWN.getOrDefault(status.getCode(), "CLIENT_OTHER") : info.getReason();
    String message = firstLine(status.getDescription());
    if (info == null && status.getCause() != null) { // the transport's own words say what gRPC's do not
      message += ": " + firstLine(status.getCause().getMessage());
    }
    UsherException made = new UsherException(status.getCode(), reason, message, thrown);
    if (info != null) {
      made.metadata.putAll(info.getMetadataMap());
    }
    BadRequest bad = detail(thrown, BadRequest.class);
    if (bad != null) {
      bad.getFieldViolationsList().forEach(it -> made.fields.put(it.getField(), it.getDescription()));
    }
    RetryInfo retry = detail(thrown, RetryInfo.class);
    if (retry != null) {
      made.retryDelay = Duration.ofSeconds(retry.getRetryDelay().getSeconds(), retry.getRetryDelay().getNanos());
    }
    made.retryable = retry != null || AGAIN.contains(reason) || repeatable && reason.equals("CLIENT_UNREACHABLE");
    return made;
  }

  private static String firstLine(String text) {
    return text == null ? "there is no message" : text.lines().findFirst().orElse("");
  }

  private static <M extends Message> M detail(Throwable thrown, Class<M> type) {
    com.google.rpc.Status sent = StatusProto.fromThrowable(thrown);
    for (Any detail : sent == null ? List.<Any>of() : sent.getDetailsList()) {
      try {
        if (detail.is(type)) {
          return detail.unpack(type);
        }
      } catch (InvalidProtocolBufferException unreadable) {
        return null; // the status stands without it
      }
    }
    return null;
  }
}
