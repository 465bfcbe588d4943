import dev.usher.Result;
import dev.usher.Row;
import dev.usher.UsherClient;
import dev.usher.UsherException;
import io.javalin.Javalin;
import io.javalin.http.Context;
import io.javalin.http.UnauthorizedResponse;
import java.util.Map;

/** GET /api/users answers with the rows of the user whose token the request bears. */
public final class App {
  private static final String BEARER = "Bearer ";

  private App() {}

  public static void main(String[] arguments) {
    UsherClient usher = UsherClient.builder().build(); // at USHER_ADDRESS
    Javalin app =
        Javalin.create(
            config -> {
              config.routes.get("/api/users", ctx -> users(usher, ctx));
              config.routes.exception(UsherException.class, App::refused);
              config.events.serverStopped(usher::close);
            });
    Runtime.getRuntime().addShutdownHook(new Thread(app::stop));
    app.start("127.0.0.1", Integer.parseInt(System.getenv().getOrDefault("PORT", "8080")));
    System.out.println("http://127.0.0.1:" + app.port() + "/api/users");
  }

  private static void users(UsherClient usher, Context ctx) {
    String proof = ctx.header("Authorization");
    if (proof == null || !proof.startsWith(BEARER)) {
      throw new UnauthorizedResponse();
    }
    // No WHERE: row-level security decides whose rows there are.
    Result rows =
        usher.withToken(proof.substring(BEARER.length())).readOnly().query("SELECT id, name, email FROM users");
    ctx.json(rows.stream().map(Row::toMap).toList());
  }

  private static void refused(UsherException error, Context ctx) {
    int status =
        switch (error.code()) {
          case UNAUTHENTICATED, INVALID_ARGUMENT -> 401;
          case PERMISSION_DENIED -> 403;
          case UNAVAILABLE -> 503;
          default -> 500;
        };
    ctx.status(status).json(Map.of("error", error.reason()));
  }
}
