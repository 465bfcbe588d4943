package dev.usher;

import java.time.Instant;
import java.util.Map;

/** A token that was issued or found valid. Claims are null, Boolean, Long, Double, String, List and Map. */
public record Token(
    String token,
    Map<String, Object> claims,
    String kid,
    String alg,
    String jti,
    Instant issueTime,
    Instant expireTime) {

  /** The end user it speaks for. */
  public String subject() {
    return (String) claims.get("sub");
  }

  /** What may be logged: neither the token nor its claims. */
  @Override
  public String toString() {
    return "Token[kid=" + kid + ", jti=" + jti + ", expireTime=" + expireTime + "]";
  }
}
