// Package usher is the client of Usher, the authorization sidecar: tokens, and SQL that sees an end user's
// rows only. What all clients do is in clients/CONTRACT.md.
package usher

import (
	"context"
	"crypto/tls"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strconv"
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

	pb "usher.dev/client-go/usher/v1"
)

const (
	maxMessage     = 512 << 20
	firstWait      = 100 * time.Millisecond
	longestWait    = 2 * time.Second
	defaultTimeout = 15 * time.Second
	defaultRetries = 3
)

// Client is a connection to a sidecar. It may be used by many goroutines.
type Client struct {
	opaque
	conn    *grpc.ClientConn
	tokens  pb.TokenServiceClient
	queries pb.QueryServiceClient
	keys    pb.KeyServiceClient
	key     string
	keyed   bool
	tls     *tls.Config
	timeout time.Duration
	retries int
	closed  atomic.Bool
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

// New makes a client without I/O. The target is host:port or unix:/path; "" is USHER_ADDRESS, or
// 127.0.0.1:50051. It returns an *Error for what cannot work, and for a key that would go to another machine
// in the clear.
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
	if !isTarget(target) {
		return nil, invalid("CLIENT_INVALID", "target: write host:port or unix:/path")
	}
	if client.keyed && client.tls == nil && !isLocal(target) {
		return nil, invalid("CLIENT_INVALID", "key: it is sent to another machine by TLS only; use WithTLS")
	}
	if client.keyed && client.key == "" || strings.ContainsFunc(client.key, func(char rune) bool { return char <= ' ' || char > '~' }) {
		return nil, invalid("CLIENT_INVALID", "key: it holds characters that no key has")
	}
	transport := insecure.NewCredentials()
	if client.tls != nil {
		config := client.tls.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
		transport = credentials.NewTLS(config)
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(transport),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstWait, Multiplier: 1.6, Jitter: 0.2, MaxDelay: longestWait},
			MinConnectTimeout: 5 * time.Second,
		}),
	)
	if err != nil {
		return nil, invalid("CLIENT_INVALID", "target: write host:port or unix:/path")
	}
	client.conn = conn
	client.tokens = pb.NewTokenServiceClient(conn)
	client.queries = pb.NewQueryServiceClient(conn)
	client.keys = pb.NewKeyServiceClient(conn)
	return client, nil
}

var hostAndPort = regexp.MustCompile(`^(?:\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+):(\d{1,5})$`)

func isTarget(target string) bool {
	if path, found := strings.CutPrefix(target, "unix:"); found {
		return path != ""
	}
	parts := hostAndPort.FindStringSubmatch(target)
	if parts == nil {
		return false
	}
	port, err := strconv.Atoi(parts[1])
	return err == nil && port <= math.MaxUint16
}

func isLocal(target string) bool {
	if strings.HasPrefix(target, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(target)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
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
