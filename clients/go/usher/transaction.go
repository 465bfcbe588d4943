package usher

import (
	"cmp"
	"context"
	"fmt"

	pb "usher.dev/client-go/usher/v1"
)

// Isolation is how much a transaction sees of what others commit meanwhile (PostgreSQL documentation,
// "Transaction Isolation"); the zero value is ReadCommitted.
type Isolation int32

// The levels of isolation.
const (
	ReadCommitted  = Isolation(pb.IsolationLevel_ISOLATION_LEVEL_READ_COMMITTED)
	RepeatableRead = Isolation(pb.IsolationLevel_ISOLATION_LEVEL_REPEATABLE_READ)
	Serializable   = Isolation(pb.IsolationLevel_ISOLATION_LEVEL_SERIALIZABLE)
)

// Statement is one statement of a transaction: SQL, or the Name of one that the server holds.
type Statement struct {
	SQL        string
	Name       string
	Parameters []any
	// MaxRows is the most rows to return; 0 is the scope's.
	MaxRows uint32
}

// Transaction runs the statements in one transaction: all of them, or none. An *Error has the one that failed as
// StatementIndex. It is not repeated by itself, unless the scope's options say ReadOnly: Retryable says that it
// may be.
func (s *Scope) Transaction(ctx context.Context, statements ...Statement) ([]*Result, error) {
	request := &pb.RunScopedTransactionRequest{
		Scope: s.scope,
		Options: &pb.TransactionOptions{
			IsolationLevel:   pb.IsolationLevel(s.options.Isolation),
			ReadOnly:         s.options.ReadOnly,
			StatementTimeout: duration(s.options.StatementTimeout),
		},
	}
	for at, one := range statements {
		values, err := s.sent(one.SQL, one.Name, one.Parameters, fmt.Sprintf("statements[%d].", at))
		if err != nil {
			return nil, err
		}
		request.Statements = append(request.Statements, &pb.ScopedStatement{
			Sql: one.SQL, Statement: one.Name, Parameters: values, MaxRows: cmp.Or(one.MaxRows, s.options.MaxRows),
		})
	}
	if s.err != nil { // without statements
		return nil, s.err
	}
	response, err := call(ctx, s.client, s.options.ReadOnly, request, s.client.queries.RunScopedTransaction)
	if err != nil {
		return nil, err
	}
	results := make([]*Result, len(response.GetResults()))
	for at, result := range response.GetResults() {
		results[at] = newResult(result)
	}
	return results, nil
}
