package usher_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"usher.dev/client-go/usher"
	pb "usher.dev/client-go/usher/v1"
)

const endless = "SELECT generate_series(1, 1000000000) AS n"

// player plays a sidecar that is away for so many calls, then sends its messages, and breaks where it is told to.
type player struct {
	pb.UnimplementedQueryServiceServer
	away     int32
	messages []*pb.StreamScopedQueryResponse
	breaks   error
	calls    atomic.Int32
	sent     atomic.Int32
}

func (p *player) StreamScopedQuery(
	_ *pb.StreamScopedQueryRequest, stream grpc.ServerStreamingServer[pb.StreamScopedQueryResponse],
) error {
	if p.calls.Add(1) <= p.away {
		return status.Error(codes.Unavailable, "away")
	}
	for _, message := range p.messages {
		if err := stream.Send(message); err != nil {
			return err
		}
		p.sent.Add(1)
	}
	return p.breaks
}

func (p *player) RunScopedTransaction(
	context.Context, *pb.RunScopedTransactionRequest,
) (*pb.RunScopedTransactionResponse, error) {
	if p.calls.Add(1) <= p.away {
		return nil, status.Error(codes.Unavailable, "away")
	}
	return &pb.RunScopedTransactionResponse{}, nil
}

// playing gives a scope of a client of the player.
func playing(t *testing.T, p *player) *usher.Scope {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterQueryServiceServer(server, p)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return client(t, listener.Addr().String()).AsUser("alice", nil)
}

func columns() *pb.StreamScopedQueryResponse {
	return &pb.StreamScopedQueryResponse{Columns: []*pb.Column{{Name: "n", TypeName: "int8", Kind: pb.Kind_KIND_INT}}}
}

func chunk(numbers ...int64) *pb.StreamScopedQueryResponse {
	data := []*pb.ColumnData{{Ints: numbers}}
	return &pb.StreamScopedQueryResponse{Data: data, RowCount: uint32(len(numbers))}
}

func summary() *pb.StreamScopedQueryResponse {
	return &pb.StreamScopedQueryResponse{Summary: &pb.StreamSummary{RowCount: 2, CommandTag: "SELECT 2"}}
}

// numbers reads the first column of a stream to its end or error.
func numbers(stream *usher.Stream, err error) ([]int64, error) {
	if err != nil {
		return nil, err
	}
	found := []int64{}
	for row, err := range stream.Rows() {
		if err != nil {
			return found, err
		}
		found = append(found, row.Value(0).(int64))
	}
	return found, nil
}

func TestAStreamWithoutItsSummaryWasCut(t *testing.T) {
	for _, messages := range [][]*pb.StreamScopedQueryResponse{{}, {columns()}, {columns(), chunk(1, 2)}} {
		rows, err := numbers(playing(t, &player{messages: messages}).Stream(t.Context(), "SELECT 1"))
		failed := wantReason(t, err, "CLIENT_OTHER")
		if failed.Status() != "INTERNAL" || failed.Retryable || !strings.Contains(failed.Message, "cut") || len(messages) == 3 && len(rows) != 2 {
			t.Error(failed, rows)
		}
	}
}

func TestAStreamIsTriedAgainWhileNothingHasCome(t *testing.T) {
	there := &player{away: 2, messages: []*pb.StreamScopedQueryResponse{columns(), chunk(1, 2), summary()}}
	rows, err := numbers(playing(t, there).Stream(t.Context(), "SELECT 1"))
	if err != nil || !slices.Equal(rows, []int64{1, 2}) || there.calls.Load() != 3 {
		t.Error(rows, err, there.calls.Load())
	}
	broken := &player{breaks: status.Error(codes.Unavailable, "away"), messages: there.messages[:2]}
	rows, err = numbers(playing(t, broken).Stream(t.Context(), "SELECT 1"))
	failed := wantReason(t, err, "CLIENT_UNREACHABLE")
	if !failed.Retryable || !slices.Equal(rows, []int64{1, 2}) || broken.calls.Load() != 1 {
		t.Error(failed, rows, broken.calls.Load())
	}
}

func TestAStreamReadsNoFurtherThanItsCaller(t *testing.T) {
	// All is 300 MB; what is on its way is gRPC's window, which is far from that.
	large := make([]int64, 16_000)
	for at := range large {
		large[at] = 1<<50 + int64(at)
	}
	there := &player{messages: []*pb.StreamScopedQueryResponse{columns()}}
	there.messages = append(there.messages, slices.Repeat([]*pb.StreamScopedQueryResponse{chunk(large...)}, 3000)...)
	scope := playing(t, there)
	stream, err := scope.Stream(t.Context(), "SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, err := range stream.Rows() {
		if read++; err != nil || read == 20*len(large) {
			break
		}
		if read%len(large) == 0 { // a turn for the others on the same connection
			if _, err := scope.Transaction(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if sent := there.sent.Load(); read != 20*len(large) || sent > 300 {
		t.Error(read, sent)
	}
}

func TestLeavingAStreamCancelsTheStatement(t *testing.T) {
	byEach(t, leavingAStreamCancelsTheStatement)
}

func leavingAStreamCancelsTheStatement(t *testing.T, live func() *usher.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	alice := live().AsUser("alice", nil)
	for range 20 { // more than the sidecar admits at a time
		stream := begun(ctx, t, alice)
		for row, err := range stream.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			if row.Value(0) == int64(3) {
				break
			}
		}
		if stream.Summary() != nil {
			t.Error(stream.Summary())
		}
		_, err := numbers(stream, nil)
		wantReason(t, err, "CLIENT_INVALID")
		closed := begun(ctx, t, alice)
		closed.Close()
		closed.Close()
	}
}

// begun begins an endless stream, as soon as the sidecar has seen that those before it were left.
func begun(ctx context.Context, t *testing.T, scope *usher.Scope) *usher.Stream {
	t.Helper()
	for {
		stream, err := scope.Stream(ctx, endless)
		if err == nil {
			return stream
		}
		wantReason(t, err, "TOO_MANY_CALLS")
	}
}

func TestAStreamEndsWithItsContextOrClient(t *testing.T) {
	byEach(t, aStreamEndsWithItsContextOrClient)
}

func aStreamEndsWithItsContextOrClient(t *testing.T, live func() *usher.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := live().AsUser("alice", nil).Stream(ctx, endless)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = numbers(stream, nil)
	if wantReason(t, err, "CLIENT_CANCELLED"); !errors.Is(err, context.Canceled) {
		t.Error("it is no context.Canceled")
	}
	closing := live()
	stream, err = closing.AsUser("alice", nil).Stream(t.Context(), endless)
	if err != nil {
		t.Fatal(err)
	}
	closing.Close()
	_, err = numbers(stream, nil)
	wantReason(t, err, "CLIENT_CLOSED")
}

func TestColumnsAreKnownBeforeTheFirstRow(t *testing.T) {
	stream, err := client(t, "").AsUser("alice", nil).With(usher.QueryOptions{MaxRows: 2}).Stream(
		t.Context(), "SELECT g AS n, -g AS n FROM generate_series(1, $1::int) g", 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(stream.Columns) != 2 || stream.Columns[1].GetName() != "n" {
		t.Error(stream.Columns)
	}
	for row := range stream.Rows() {
		first, err := row.Named("n")
		if _, missing := row.Named("missing"); err != nil || !errors.Is(missing, usher.ErrNoColumn) {
			t.Error(err, missing)
		}
		if row.Value(1) != -first.(int64) {
			t.Error(first, row.Value(1))
		}
	}
	if sent := stream.Summary(); sent == nil || *sent != (usher.Summary{RowCount: 2, Truncated: true, CommandTag: "SELECT 2"}) {
		t.Error(sent)
	}
}

func TestATransactionIsRepeatedOnlyWhenItReads(t *testing.T) {
	for readOnly, calls := range map[bool]int32{false: 1, true: 2} {
		there := &player{away: 1}
		scope := playing(t, there).With(usher.QueryOptions{ReadOnly: readOnly})
		_, err := scope.Transaction(t.Context(), usher.Statement{SQL: "SELECT 1"})
		if !readOnly {
			if failed := wantReason(t, err, "CLIENT_UNREACHABLE"); failed.Retryable {
				t.Error(failed)
			}
		} else if err != nil {
			t.Error(err)
		}
		if there.calls.Load() != calls {
			t.Error(there.calls.Load())
		}
	}
}

func TestATransactionNamesTheStatementAtFault(t *testing.T) {
	alice := client(t, "").AsUser("alice", nil)
	_, err := alice.Transaction(t.Context(), usher.Statement{SQL: "SELECT 1"}, usher.Statement{SQL: "SELECT 1 / 0"})
	if failed := wantReason(t, err, "DATA_EXCEPTION"); failed.StatementIndex() != 1 {
		t.Error(failed.StatementIndex())
	}
	_, err = alice.Query(t.Context(), "SELECT 1 / 0")
	if failed := wantReason(t, err, "DATA_EXCEPTION"); failed.StatementIndex() != -1 {
		t.Error(failed.StatementIndex())
	}
	for _, statement := range []usher.Statement{{SQL: "\xff"}, {Name: "\xff"}, {SQL: "SELECT $1", Parameters: []any{func() {}}}} {
		_, err := alice.Transaction(t.Context(), usher.Statement{SQL: "SELECT 1"}, statement)
		if failed := wantReason(t, err, "CLIENT_INVALID"); !strings.HasPrefix(failed.Message, "statements[1].") {
			t.Error(failed)
		}
	}
	_, err = client(t, "").AsUser("\xff", nil).Transaction(t.Context())
	wantReason(t, err, "CLIENT_INVALID")
}

func TestATransactionHasTheScopesOptions(t *testing.T) {
	scope := client(t, "").AsUser("alice", nil).With(usher.QueryOptions{
		ReadOnly: true, MaxRows: 3, Isolation: usher.RepeatableRead,
	})
	numbers := "SELECT g, current_setting('transaction_isolation') FROM generate_series(1, 9) g"
	results, err := scope.Transaction(t.Context(), usher.Statement{SQL: numbers}, usher.Statement{SQL: numbers, MaxRows: 2})
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Len() != 3 || results[1].Len() != 2 || results[0].Value(0, 1) != "repeatable read" {
		t.Error(results[0].Len(), results[1].Len(), results[0].Value(0, 1))
	}
}
