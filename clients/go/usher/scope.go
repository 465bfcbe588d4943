package usher

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "usher.dev/client-go/usher/v1"
)

// Scope says whose rows a statement sees.
type Scope struct {
	opaque
	client  *Client
	scope   *pb.Scope
	options QueryOptions
	err     error
}

// QueryOptions limit a statement, a stream, or each statement of a transaction. Zero values are the server's
// defaults.
type QueryOptions struct {
	ReadOnly         bool
	MaxRows          uint32
	StatementTimeout time.Duration
	// Isolation is for transactions alone.
	Isolation Isolation
}

// AsUser is the scope of an end user; a subject or claims that cannot be sent show at the first query.
func (c *Client) AsUser(sub string, claims map[string]any) *Scope {
	message, err := claimsStruct(claims)
	err = cmp.Or(err, areText("sub", sub))
	principal := &pb.Principal{Subject: sub, Claims: message}
	return &Scope{client: c, scope: &pb.Scope{Scope: &pb.Scope_Principal{Principal: principal}}, err: err}
}

// WithToken is the scope of a token.
func (c *Client) WithToken(token string) *Scope {
	return &Scope{client: c, scope: &pb.Scope{Scope: &pb.Scope_Token{Token: token}}, err: areText("token", token)}
}

// With is the same scope with other options.
func (s *Scope) With(options QueryOptions) *Scope {
	other := *s
	other.options = options
	return &other
}

// Query runs one statement.
func (s *Scope) Query(ctx context.Context, sql string, parameters ...any) (*Result, error) {
	return s.run(ctx, &pb.RunScopedQueryRequest{Sql: sql}, parameters)
}

// Run runs a named statement.
func (s *Scope) Run(ctx context.Context, statement string, parameters ...any) (*Result, error) {
	return s.run(ctx, &pb.RunScopedQueryRequest{Statement: statement}, parameters)
}

func (s *Scope) run(ctx context.Context, request *pb.RunScopedQueryRequest, parameters []any) (*Result, error) {
	values, err := s.sent(request.GetSql(), request.GetStatement(), parameters, "")
	if err != nil {
		return nil, err
	}
	request.Scope, request.Parameters = s.scope, values
	request.Options = &pb.QueryOptions{
		ReadOnly: s.options.ReadOnly, MaxRows: s.options.MaxRows, StatementTimeout: duration(s.options.StatementTimeout),
	}
	response, err := call(ctx, s.client, s.options.ReadOnly, request, s.client.queries.RunScopedQuery)
	if err != nil {
		return nil, err
	}
	return newResult(response), nil
}

// sent gives a statement's parameters as they are sent, or what of it cannot be sent; place is its field's name.
func (s *Scope) sent(sql, statement string, parameters []any, place string) ([]*pb.Value, error) {
	if err := cmp.Or(s.err, areText(place+"sql, statement", sql, statement)); err != nil {
		return nil, err
	}
	values := make([]*pb.Value, len(parameters))
	for at, value := range parameters {
		made, err := parameter(value, fmt.Sprintf("%sparameters[%d]", place, at))
		if err != nil {
			return nil, err
		}
		values[at] = made
	}
	return values, nil
}

func duration(given time.Duration) *durationpb.Duration {
	if given == 0 {
		return nil
	}
	return durationpb.New(given)
}

// WhoAmI gives what Postgres sees in this scope.
func (s *Scope) WhoAmI(ctx context.Context) (*pb.WhoAmIResponse, error) {
	if s.err != nil {
		return nil, s.err
	}
	return call(ctx, s.client, true, &pb.WhoAmIRequest{Scope: s.scope}, s.client.queries.WhoAmI)
}
