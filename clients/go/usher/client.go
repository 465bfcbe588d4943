// Package usher is the client of Usher, the authorization sidecar: tokens, and SQL that sees an end user's
// rows only. What all clients do is in clients/CONTRACT.md.
package usher

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	pb "usher.dev/client-go/usher/v1"
)

const (
	maxMessage     = 512 << 20
	firstWait      = 100 * time.Millisecond
	longestWait    = 2 * time.Second
	defaultTimeout = 15 * time.Second
	defaultRetries = 3
	inTurn         = `{"loadBalancingConfig": [{"round_robin": {}}]}`
)

// Client is a connection to a sidecar. It may be used by many goroutines.
type Client struct {
	opaque
	conn    connection
	tokens  pb.TokenServiceClient
	queries pb.QueryServiceClient
	keys    pb.KeyServiceClient
	key     string
	keyed   bool
	tls     *tls.Config
	connect bool
	timeout time.Duration
	retries int
	closed  atomic.Bool
}

// connection is what the generated stubs call by: gRPC's, or Connect's.
type connection interface {
	grpc.ClientConnInterface
	Close() error
}

// Option changes how a client is made.
type Option func(*Client)

// WithTLS uses TLS: roots and client certificates are in the configuration; nil has the system's roots.
func WithTLS(config *tls.Config) Option {
	if config == nil {
		config = &tls.Config{}
	}
	return func(c *Client) { c.tls = config }
}

// WithKey sends a bearer key with every call.
func WithKey(key string) Option { return func(c *Client) { c.key, c.keyed = key, true } }

// WithTimeout is the deadline of a call whose context has none earlier; 15 s unless given.
func WithTimeout(timeout time.Duration) Option { return func(c *Client) { c.timeout = timeout } }

// WithRetries is how often a call that changes nothing is repeated; 3 unless given.
func WithRetries(retries int) Option { return func(c *Client) { c.retries = retries } }

// New makes a client without I/O. The target is host:port or unix:/path, or several of these with commas between,
// which take turns; "" is USHER_ADDRESS, or 127.0.0.1:50051. It returns an *Error for what cannot work, and for a
// key that would go to another machine in the clear.
func New(target string, options ...Option) (*Client, error) {
	if target == "" {
		target = os.Getenv("USHER_ADDRESS")
	}
	if target == "" {
		target = "127.0.0.1:50051"
	}
	client := &Client{timeout: defaultTimeout, retries: defaultRetries}
	for _, option := range options {
		option(client)
	}
	targets, err := addresses(target, client.tls != nil)
	if err != nil {
		return nil, err
	}
	if client.keyed && client.tls == nil && slices.ContainsFunc(targets, isElsewhere) {
		return nil, invalid("CLIENT_INVALID", "key: it is sent to another machine by TLS only; use WithTLS")
	}
	if client.keyed && client.key == "" || strings.ContainsFunc(client.key, func(char rune) bool { return char <= ' ' || char > '~' }) {
		return nil, invalid("CLIENT_INVALID", "key: it holds characters that no key has")
	}
	if client.tls != nil {
		client.tls = client.tls.Clone()
		client.tls.MinVersion = max(client.tls.MinVersion, tls.VersionTLS12)
	}
	conn, err := client.connection(targets)
	if err != nil {
		return nil, invalid("CLIENT_INVALID", "target: write host:port or unix:/path")
	}
	client.conn = conn
	client.tokens = pb.NewTokenServiceClient(conn)
	client.queries = pb.NewQueryServiceClient(conn)
	client.keys = pb.NewKeyServiceClient(conn)
	return client, nil
}

func (c *Client) connection(targets []string) (connection, error) {
	if c.connect {
		return newConnectConn(targets, c.tls), nil
	}
	transport := insecure.NewCredentials()
	if c.tls != nil {
		transport = credentials.NewTLS(c.tls)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstWait, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestWait},
			MinConnectTimeout: dialTimeout,
		}),
	}
	if len(targets) == 1 {
		return grpc.NewClient(targets[0], options...)
	}
	endpoints := make([]resolver.Endpoint, len(targets))
	for at, one := range targets {
		endpoints[at].Addresses = []resolver.Address{{Addr: one}}
	}
	all := manual.NewBuilderWithScheme("usher")
	all.InitialState(resolver.State{Endpoints: endpoints})
	options = append(options, grpc.WithResolvers(all), grpc.WithDefaultServiceConfig(inTurn))
	authority := targets[0]
	if strings.HasPrefix(authority, "unix:") {
		authority = "localhost"
	}
	return grpc.NewClient("usher:///"+authority, options...)
}

// Close ends the connection; calls under way fail.
func (c *Client) Close() error {
	c.closed.Store(true)
	return c.conn.Close()
}

// call runs one call with its deadline, and again where that changes nothing.
func call[Request, Response any](
	ctx context.Context, c *Client, repeatable bool, request Request,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return tried(ctx, c, repeatable, request, method)
}

// tried is call within the deadline that the context has.
func tried[Request, Response any](
	ctx context.Context, c *Client, repeatable bool, request Request,
	method func(context.Context, Request, ...grpc.CallOption) (Response, error),
) (Response, error) {
	if c.keyed {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.key)
	}
	left, longest := c.retries, firstWait
	for {
		response, err := method(ctx, request)
		if err == nil {
			return response, nil
		}
		failed := c.failure(err, repeatable)
		if !repeatable || left <= 0 || failed.Code != codes.Unavailable {
			return response, failed
		}
		left--
		wait := max(failed.RetryDelay, rand.N(longest))
		longest = min(longestWait, 2*longest)
		if ends, _ := ctx.Deadline(); time.Until(ends) <= wait {
			return response, failed
		}
		select {
		case <-ctx.Done():
			return response, failed
		case <-time.After(wait):
		}
	}
}

// failure is what a call's error means for the caller.
func (c *Client) failure(err error, repeatable bool) *Error {
	if c.closed.Load() {
		return errClosed()
	}
	return fromGRPC(err, repeatable)
}

// VerifyToken gives the claims of a valid token; an empty audience is not compared.
func (c *Client) VerifyToken(ctx context.Context, token, audience string) (*pb.VerifyTokenResponse, error) {
	if err := areText("token, audience", token, audience); err != nil {
		return nil, err
	}
	return call(ctx, c, true, &pb.VerifyTokenRequest{Token: token, Audience: audience}, c.tokens.VerifyToken)
}

// ListKeys gives every published key; on the admin address.
func (c *Client) ListKeys(ctx context.Context) ([]*pb.Key, error) {
	response, err := call(ctx, c, true, &pb.ListKeysRequest{}, c.keys.ListKeys)
	return response.GetKeys(), err
}

// RotateKeys lets the prepared key sign now; on the admin address.
func (c *Client) RotateKeys(ctx context.Context, force bool) (*pb.RotateKeysResponse, error) {
	return call(ctx, c, false, &pb.RotateKeysRequest{Force: force}, c.keys.RotateKeys)
}

// RevokeKey takes a key out of the set at once; on the admin address.
func (c *Client) RevokeKey(ctx context.Context, kid string) (*pb.RevokeKeyResponse, error) {
	return call(ctx, c, false, &pb.RevokeKeyRequest{Kid: kid}, c.keys.RevokeKey)
}
