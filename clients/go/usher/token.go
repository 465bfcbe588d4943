package usher

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "usher.dev/client-go/usher/v1"
)

// opaque makes the types that hold keys, tokens and claims print as nothing: fmt would show their fields.
type opaque struct{}

// Format prints none of what is held.
func (opaque) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "(usher: not shown)") }

// TokenOptions are what a token may have beside its subject and claims.
type TokenOptions struct {
	Audiences []string
	// TTL is the lifetime; 0 is the server's default.
	TTL time.Duration
}

// Token is a token that was issued. Printed and logged it shows neither itself nor its claims.
type Token struct{ *pb.IssueTokenResponse }

// Format prints what names the token.
func (t Token) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "usher.Token(kid %s, jti %s)", t.GetKid(), t.GetJti())
}

// LogValue is what log/slog shows.
func (t Token) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(t)) }

// IssueToken gives a token.
func (c *Client) IssueToken(
	ctx context.Context, sub string, claims map[string]any, options TokenOptions,
) (*Token, error) {
	message, err := claimsStruct(claims)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(areText("sub", sub), areText("audiences", options.Audiences...)); err != nil {
		return nil, err
	}
	request := &pb.IssueTokenRequest{Subject: sub, Claims: message, Audiences: options.Audiences}
	if options.TTL != 0 {
		request.Ttl = durationpb.New(options.TTL)
	}
	response, err := call(ctx, c, true, request, c.tokens.IssueToken)
	if err != nil {
		return nil, err
	}
	return &Token{response}, nil
}

// TokenSource gives the same token until shortly before it expires. Many goroutines share one request, and
// its failure.
type TokenSource struct {
	opaque
	client  *Client
	sub     string
	claims  map[string]any
	options TokenOptions

	turn      chan struct{} // full while someone asks; unlike a mutex it can be waited for until a context ends
	token     *Token
	goodUntil time.Time
	failure   error
	failedAt  time.Time
}

// TokenSource makes a source; no I/O.
func (c *Client) TokenSource(sub string, claims map[string]any, options TokenOptions) *TokenSource {
	turn := make(chan struct{}, 1)
	return &TokenSource{client: c, sub: sub, claims: claims, options: options, turn: turn}
}

// Token gives a token that is good for a while.
func (s *TokenSource) Token(ctx context.Context) (*Token, error) {
	called := time.Now()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, fromGRPC(status.FromContextError(ctx.Err()).Err(), true)
	}
	asked := time.Now()
	if s.token != nil && asked.Before(s.goodUntil) {
		return s.token, nil
	}
	if s.failure != nil && s.failedAt.After(called) {
		return nil, s.failure
	}
	token, err := s.client.IssueToken(ctx, s.sub, s.claims, s.options)
	if err != nil {
		if ctx.Err() == nil { // else this caller gave up, which is nothing to those who wait
			s.failure, s.failedAt = err, time.Now()
		}
		return nil, err
	}
	life := token.GetExpireTime().AsTime().Sub(token.GetIssueTime().AsTime())
	s.token, s.goodUntil = token, asked.Add(life-min(time.Minute, life/10))
	return token, nil
}
