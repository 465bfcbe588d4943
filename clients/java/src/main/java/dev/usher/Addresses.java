package dev.usher;

import io.grpc.ChannelCredentials;
import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.StatusOr;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.util.NetUtil;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Where a client connects to: one address, or several that take turns. */
final class Addresses {
  private static final Pattern TARGET = Pattern.compile("(?:\\[([\\da-fA-F:.]+)]|([\\w.-]+)):(\\d{1,5})");
  private static final Pattern LOCAL =
      Pattern.compile("localhost|::1|127(\\.(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)){3}");

  /** Whether none of them is of another machine. */
  final boolean local;

  /** Whether they are Unix sockets. */
  final boolean unix;

  private final List<SocketAddress> all = new ArrayList<>();
  private final String authority;

  /** Throws UsherException CLIENT_INVALID for what is no target, and for several that do not go together. */
  Addresses(String target, boolean tls) {
    boolean everyLocal = true;
    Set<Object> kinds = new HashSet<>();
    String[] parts = target.split(",", -1);
    for (String one : parts) {
      Matcher found = TARGET.matcher(one);
      if (one.startsWith("unix:") && one.length() > 5 && one.indexOf('\0') < 0) {
        all.add(UnixDomainSocketAddress.of(one.substring(5)));
        kinds.add("unix");
      } else if (found.matches() && Integer.parseInt(found.group(3)) <= 0xFFFF) {
        String host = found.group(1) != null ? found.group(1) : found.group(2);
        byte[] octets = NetUtil.createByteArrayFromIpAddressString(host);
        int port = Integer.parseInt(found.group(3));
        all.add(octets == null ? InetSocketAddress.createUnresolved(host, port) : new InetSocketAddress(host, port));
        kinds.add(octets == null ? "name" : tls ? ByteBuffer.wrap(octets) : octets.length);
        everyLocal &= LOCAL.matcher(host).matches();
      } else {
        throw UsherException.invalid("target: write host:port or unix:/path, or several with commas between");
      }
    }
    if (all.size() > 1 && (kinds.size() > 1 || kinds.contains("name"))) {
      throw UsherException.invalid(
          "target: several are all IPv4, all IPv6 or all Unix sockets, without names; by TLS all of one IP address");
    }
    local = everyLocal;
    unix = kinds.contains("unix");
    authority = unix ? "localhost" : parts[0];
  }

  boolean several() {
    return all.size() > 1;
  }

  @SuppressWarnings("deprecation") // the other way is a resolver that all channels of the process share
  NettyChannelBuilder channel(ChannelCredentials credentials) {
    if (several()) {
      return NettyChannelBuilder.forTarget("usher:///" + authority, credentials)
          .nameResolverFactory(new Known())
          .defaultLoadBalancingPolicy("round_robin");
    }
    if (all.get(0) instanceof InetSocketAddress address) {
      return NettyChannelBuilder.forAddress(address.getHostString(), address.getPort(), credentials);
    }
    return NettyChannelBuilder.forAddress(all.get(0), credentials);
  }

  /** Resolves to all of them. */
  private final class Known extends NameResolver.Factory {
    @Override
    public String getDefaultScheme() {
      return "usher";
    }

    @Override
    public NameResolver newNameResolver(URI target, NameResolver.Args args) {
      return new NameResolver() {
        @Override
        public String getServiceAuthority() {
          return authority;
        }

        @Override
        public void start(Listener2 listener) {
          List<EquivalentAddressGroup> groups = all.stream().map(EquivalentAddressGroup::new).toList();
          listener.onResult(
              ResolutionResult.newBuilder().setAddressesOrError(StatusOr.fromValue(groups)).build());
        }

        @Override
        public void shutdown() {}
      };
    }
  }
}
