package usher

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "usher.dev/client-go/usher/v1"
)

// streamTimeout is how long a stream may take when its context does not say: the server's own limit, unless that
// was changed.
const streamTimeout = 10 * time.Minute

// Stream is the rows of a statement, while the sidecar sends them. It is for one goroutine at a time.
type Stream struct {
	Columns []*pb.Column

	client  *Client
	rpc     grpc.ServerStreamingClient[pb.StreamScopedQueryResponse]
	cancel  context.CancelFunc
	names   map[string]int
	summary *pb.StreamSummary
	read    bool
}

// Row is one row of a stream.
type Row struct {
	stream *Stream
	data   [][]any
	at     int
}

// Stream begins to send the rows of one reading statement, any number of them: range over its Rows, or Close it.
// Its deadline is the context's, or 10 minutes where that has none.
func (s *Scope) Stream(ctx context.Context, sql string, parameters ...any) (*Stream, error) {
	return s.stream(ctx, &pb.StreamScopedQueryRequest{Sql: sql}, parameters)
}

// StreamStatement does the same for a named statement.
func (s *Scope) StreamStatement(ctx context.Context, statement string, parameters ...any) (*Stream, error) {
	return s.stream(ctx, &pb.StreamScopedQueryRequest{Statement: statement}, parameters)
}

func (s *Scope) stream(
	ctx context.Context, request *pb.StreamScopedQueryRequest, parameters []any,
) (*Stream, error) {
	values, err := s.sent(request.GetSql(), request.GetStatement(), parameters, "")
	if err != nil {
		return nil, err
	}
	request.Scope, request.Parameters = s.scope, values
	request.Options = &pb.StreamOptions{
		MaxRows: int64(s.options.MaxRows), StatementTimeout: duration(s.options.StatementTimeout),
	}
	ctx, cancel := bounded(ctx)
	stream, err := tried(ctx, s.client, true, request, s.client.begin)
	if err != nil {
		cancel()
		return nil, err
	}
	stream.cancel = cancel
	return stream, nil
}

// bounded is the context with an end: its own, or that of streams.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, chosen := ctx.Deadline(); chosen {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, streamTimeout)
}

// begin waits for the first message, which has the columns: from then on the call is not tried again.
func (c *Client) begin(
	ctx context.Context, request *pb.StreamScopedQueryRequest, _ ...grpc.CallOption,
) (*Stream, error) {
	rpc, err := c.queries.StreamScopedQuery(ctx, request)
	if err != nil {
		return nil, err
	}
	stream := &Stream{client: c, rpc: rpc}
	first, err := stream.next()
	if err != nil {
		return nil, err
	}
	stream.Columns, stream.names = first.GetColumns(), positions(first.GetColumns())
	return stream, nil
}

// Rows are the rows in order, once; an error comes after the rows before it, and is the last. Leaving the loop
// cancels the statement.
func (s *Stream) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if s.read {
			yield(Row{}, invalid("CLIENT_INVALID", "a stream gives its rows once; ask for another one"))
			return
		}
		defer s.Close()
		for s.summary == nil {
			message, err := s.next()
			if err != nil {
				yield(Row{}, err)
				return
			}
			data := cells(s.Columns, message.GetData(), int(message.GetRowCount()))
			for at := range int(message.GetRowCount()) {
				if !yield(Row{s, data, at}, nil) {
					return
				}
			}
			s.summary = message.GetSummary()
		}
		// The status, without which the call would be cancelled.
		if _, err := s.rpc.Recv(); !errors.Is(err, io.EOF) {
			yield(Row{}, s.client.failure(err, true))
		}
	}
}

func (s *Stream) next() (*pb.StreamScopedQueryResponse, error) {
	message, err := s.rpc.Recv()
	if errors.Is(err, io.EOF) {
		return nil, &Error{
			Code: codes.Internal, Reason: "CLIENT_OTHER", Message: "the stream was cut: its last rows are missing",
		}
	}
	if err != nil {
		return nil, s.client.failure(err, true)
	}
	return message, nil
}

// Close cancels the statement, unless it has ended. It may be called more than once.
func (s *Stream) Close() {
	s.read = true
	s.cancel()
}

// Summary is what a stream has sent.
type Summary struct {
	RowCount int64
	// Truncated says that there were more rows than the limit.
	Truncated  bool
	CommandTag string
}

// Summary says what was sent, once all rows have come; until then it is nil.
func (s *Stream) Summary() *Summary {
	if s.summary == nil {
		return nil
	}
	return &Summary{s.summary.GetRowCount(), s.summary.GetTruncated(), s.summary.GetCommandTag()}
}

// Value is a cell by position: nil for NULL, else of the type that clients/CONTRACT.md names.
func (r Row) Value(column int) any { return r.data[column][r.at] }

// Named is a cell by the name of its column; of several with one name the first.
func (r Row) Named(name string) (any, error) {
	at, found := r.stream.names[name]
	if !found {
		return nil, ErrNoColumn
	}
	return r.Value(at), nil
}
