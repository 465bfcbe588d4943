package dev.usher;

import dev.usher.v1.IssueTokenRequest;
import dev.usher.v1.Key;
import dev.usher.v1.KeyServiceGrpc;
import dev.usher.v1.ListKeysRequest;
import dev.usher.v1.ListKeysResponse;
import dev.usher.v1.Principal;
import dev.usher.v1.RevokeKeyRequest;
import dev.usher.v1.RevokeKeyResponse;
import dev.usher.v1.RotateKeysRequest;
import dev.usher.v1.RotateKeysResponse;
import dev.usher.v1.TokenServiceGrpc;
import dev.usher.v1.VerifyTokenRequest;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Function;

/**
 * A connection to a sidecar: tokens, and SQL that sees an end user's rows only. It is made without I/O and
 * may be used by many threads. What all clients do is in clients/CONTRACT.md.
 *
 * <p>Every call has a form that ends in Async and gives a future; its exception is an {@link UsherException}.
 * Cancelling that future, or interrupting a thread that waits, cancels the call.
 */
public final class UsherClient implements AutoCloseable {
  private static final Duration TIMEOUT = Duration.ofSeconds(15);

  private final Calls calls;
  private final Duration timeout;

  private UsherClient(Calls calls, Duration timeout) {
    this.calls = calls;
    this.timeout = timeout;
  }

  /** Connects to host:port or unix:/path without TLS and key. */
  public static UsherClient connect(String target) {
    return builder().target(target).build();
  }

  /** What a client may be told. Without a target it is USHER_ADDRESS, or 127.0.0.1:50051. */
  public static Builder builder() {
    return new Builder();
  }

  /** How a client is made. */
  public static final class Builder {
    String target = System.getenv("USHER_ADDRESS");
    boolean tls;
    byte[] ca;
    byte[] certificate;
    byte[] privateKey;
    String key;
    int retries = 3;
    private Duration timeout = TIMEOUT;

    private Builder() {
      if (target == null || target.isEmpty()) {
        target = "127.0.0.1:50051";
      }
    }

    /** Connects to host:port or unix:/path, or several of these with commas between, which take turns. */
    public Builder target(String target) {
      this.target = target;
      return this;
    }

    /** Uses TLS, with the system's roots unless {@link #ca} is given. */
    public Builder tls() {
      tls = true;
      return this;
    }

    /** Uses TLS, and trusts these certificates (PEM). */
    public Builder ca(byte[] pem) {
      ca = pem.clone();
      return tls();
    }

    /** Uses TLS, and proves who calls: certificate and private key (PEM, the key as PKCS #8). */
    public Builder certificate(byte[] pem, byte[] privateKeyPem) {
      certificate = pem.clone();
      privateKey = privateKeyPem.clone();
      return tls();
    }

    /** Sends a bearer key with every call. Without TLS it goes to this machine only. */
    public Builder key(String key) {
      this.key = key;
      return this;
    }

    /** The deadline of each call; 15 s unless given. */
    public Builder timeout(Duration timeout) {
      this.timeout = timeout;
      return this;
    }

    /** How often a call that changes nothing is repeated; 3 unless given. */
    public Builder retries(int retries) {
      this.retries = retries;
      return this;
    }

    /**
     * Makes the client, without I/O.
     *
     * @throws UsherException CLIENT_INVALID, as for a key that would go to another machine in the clear
     */
    public UsherClient build() {
      return new UsherClient(new Calls(this), timeout);
    }
  }

  /** The same connection with another deadline for each call. */
  public UsherClient withTimeout(Duration timeout) {
    return new UsherClient(calls, timeout);
  }

  /** A token with the server's default lifetime. */
  public Token issueToken(String sub, Map<String, ?> claims) {
    return issueToken(sub, claims, null);
  }

  /**
   * A token.
   *
   * @param ttl the lifetime; null for the server's default
   * @throws UsherException when it is refused
   */
  public Token issueToken(String sub, Map<String, ?> claims, Duration ttl, String... audiences) {
    return Calls.await(issueTokenAsync(sub, claims, ttl, audiences));
  }

  /** {@link #issueToken(String, Map, Duration, String...)} without waiting. */
  public CompletableFuture<Token> issueTokenAsync(
      String sub, Map<String, ?> claims, Duration ttl, String... audiences) {
    return calls.start(
        TokenServiceGrpc.getIssueTokenMethod(), timeout, true,
        () -> {
          IssueTokenRequest.Builder request = IssueTokenRequest.newBuilder();
          request.setSubject(Values.text(sub, "sub")).setClaims(Values.claims(claims));
          for (String audience : audiences) {
            request.addAudiences(Values.text(audience, "audiences"));
          }
          return (ttl == null ? request : request.setTtl(Values.duration(ttl))).build();
        },
        it -> new Token(
            it.getToken(), Values.claims(it.getClaims()), it.getKid(), it.getAlg(), it.getJti(),
            Values.instant(it.getIssueTime()), Values.instant(it.getExpireTime())));
  }

  /** Gives a token that is good for a while, again and again; parameters as of {@link #issueToken}. */
  public TokenSource tokenSource(String sub, Map<String, ?> claims, Duration ttl, String... audiences) {
    return new TokenSource(() -> issueTokenAsync(sub, claims, ttl, audiences));
  }

  /**
   * The claims of a valid token.
   *
   * @param audience must be among the token's; "" is not compared
   * @throws UsherException with one of the TOKEN reasons
   */
  public Token verifyToken(String token, String audience) {
    return Calls.await(verifyTokenAsync(token, audience));
  }

  /** {@link #verifyToken} without waiting. */
  public CompletableFuture<Token> verifyTokenAsync(String token, String audience) {
    return calls.start(
        TokenServiceGrpc.getVerifyTokenMethod(), timeout, true,
        () -> VerifyTokenRequest.newBuilder()
            .setToken(Values.text(token, "token")).setAudience(Values.text(audience, "audience")).build(),
        it -> new Token(
            token, Values.claims(it.getClaims()), it.getKid(), it.getAlg(), it.getJti(),
            Values.instant(it.getIssueTime()), Values.instant(it.getExpireTime())));
  }

  /**
   * The scope of an end user; no I/O.
   *
   * @throws UsherException CLIENT_INVALID or CLAIM_NOT_EXACT for claims that cannot be sent
   */
  public Scope asUser(String sub, Map<String, ?> claims) {
    Principal.Builder user = Principal.newBuilder().setSubject(Values.text(sub, "sub"));
    return scope(dev.usher.v1.Scope.newBuilder().setPrincipal(user.setClaims(Values.claims(claims))));
  }

  /** The scope of a token; no I/O. */
  public Scope withToken(String token) {
    return scope(dev.usher.v1.Scope.newBuilder().setToken(Values.text(token, "token")));
  }

  private Scope scope(dev.usher.v1.Scope.Builder user) {
    return new Scope(calls, user.build(), timeout);
  }

  /** Every published key; on the admin address. */
  public List<Key> listKeys() {
    return Calls.await(listKeysAsync());
  }

  /** {@link #listKeys} without waiting. */
  public CompletableFuture<List<Key>> listKeysAsync() {
    return calls.start(
        KeyServiceGrpc.getListKeysMethod(), timeout, true,
        ListKeysRequest::getDefaultInstance, ListKeysResponse::getKeysList);
  }

  /** Lets the prepared key sign now; on the admin address. */
  public RotateKeysResponse rotateKeys(boolean force) {
    return Calls.await(rotateKeysAsync(force));
  }

  /** {@link #rotateKeys} without waiting. */
  public CompletableFuture<RotateKeysResponse> rotateKeysAsync(boolean force) {
    return calls.start(
        KeyServiceGrpc.getRotateKeysMethod(), timeout, false,
        () -> RotateKeysRequest.newBuilder().setForce(force).build(), Function.identity());
  }

  /** Takes a key out of the set at once; on the admin address. */
  public RevokeKeyResponse revokeKey(String kid) {
    return Calls.await(revokeKeyAsync(kid));
  }

  /** {@link #revokeKey} without waiting. */
  public CompletableFuture<RevokeKeyResponse> revokeKeyAsync(String kid) {
    return calls.start(
        KeyServiceGrpc.getRevokeKeyMethod(), timeout, false,
        () -> RevokeKeyRequest.newBuilder().setKid(Values.text(kid, "kid")).build(), Function.identity());
  }

  /** Ends the connection; calls under way fail with CLIENT_CLOSED. */
  @Override
  public void close() {
    calls.close();
  }
}
