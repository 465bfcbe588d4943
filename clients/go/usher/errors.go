package usher

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is a call that was refused or failed. Branch on Reason; Message is for people.
type Error struct {
	// Code is the gRPC status.
	Code codes.Code
	// Reason is one of docs/errors.md, or one that begins with CLIENT_ (clients/CONTRACT.md).
	Reason  string
	Message string
	// Metadata is what the server says of the error, such as the table and the column.
	Metadata map[string]string
	// Fields says what is wrong, by field of the request.
	Fields map[string]string
	// RetryDelay is how long the server asks to wait before another try; 0 when it does not.
	RetryDelay time.Duration
	// Retryable says that the same call may succeed later without harm.
	Retryable bool

	cause error
}

// Error gives the reason and the message.
func (e *Error) Error() string { return fmt.Sprintf("usher: %s: %s", e.Reason, e.Message) }

// Unwrap gives context.Canceled or context.DeadlineExceeded where the caller's context ended the call.
func (e *Error) Unwrap() error { return e.cause }

// SQLState is the SQLSTATE of Postgres, "" when it was not Postgres that refused.
func (e *Error) SQLState() string { return e.Metadata["sqlstate"] }

// RequestID is what the server's log knows the call by.
func (e *Error) RequestID() string { return e.Metadata["request_id"] }

// StatementIndex says which statement of a transaction failed, counted from 0; -1 when it was no single one.
func (e *Error) StatementIndex() int {
	index, err := strconv.Atoi(e.Metadata["statement_index"])
	if err != nil {
		return -1
	}
	return index
}

// Status is the gRPC status's name, such as INVALID_ARGUMENT.
func (e *Error) Status() string {
	if e.Code == codes.Canceled {
		return "CANCELLED"
	}
	var name strings.Builder
	for at, char := range e.Code.String() {
		if at > 0 && char >= 'A' && char <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(char)
	}
	return strings.ToUpper(name.String())
}

var again = map[string]bool{
	"SERIALIZATION_FAILURE": true, "DEADLOCK": true, "LOCK_NOT_AVAILABLE": true, "SHUTTING_DOWN": true,
}

var own = map[codes.Code]string{
	codes.Unavailable:       "CLIENT_UNREACHABLE",
	codes.DeadlineExceeded:  "CLIENT_DEADLINE",
	codes.Canceled:          "CLIENT_CANCELLED",
	codes.ResourceExhausted: "CLIENT_MESSAGE_TOO_LARGE",
}

func invalid(reason, format string, values ...any) *Error {
	return &Error{Code: codes.InvalidArgument, Reason: reason, Message: fmt.Sprintf(format, values...)}
}

func errClosed() *Error {
	return &Error{Code: codes.Canceled, Reason: "CLIENT_CLOSED", Message: "the client was closed; make a new one"}
}

func fromGRPC(err error, repeatable bool) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	found := status.Convert(err)
	made := &Error{Code: found.Code(), Message: found.Message(), Reason: own[found.Code()]}
	if made.Reason == "" {
		made.Reason = "CLIENT_OTHER"
	}
	for _, detail := range found.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			made.Reason, made.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.BadRequest:
			made.Fields = map[string]string{}
			for _, violation := range detail.GetFieldViolations() {
				made.Fields[violation.GetField()] = violation.GetDescription()
			}
		case *errdetails.RetryInfo:
			made.RetryDelay = detail.GetRetryDelay().AsDuration()
			made.Retryable = true
		}
	}
	made.Retryable = made.Retryable || again[made.Reason] || repeatable && made.Reason == "CLIENT_UNREACHABLE"
	switch made.Reason {
	case "CLIENT_CANCELLED":
		made.cause = context.Canceled
	case "CLIENT_DEADLINE":
		made.cause = context.DeadlineExceeded
	}
	return made
}
