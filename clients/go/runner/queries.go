package main

import (
	"context"
	"errors"
	"time"

	"usher.dev/client-go/usher"
	pb "usher.dev/client-go/usher/v1"
)

func (r runner) query(ctx context.Context, request object) (object, error) {
	if after := seconds(request, "cancel_after"); after != 0 {
		cancelled, cancel := context.WithCancel(ctx)
		ctx = cancelled
		time.AfterFunc(after, cancel)
	}
	ctx, cancel := limited(ctx, request)
	defer cancel()
	scope := r.scope(request).With(options(request))
	run, statement := scope.Query, text(request, "sql")
	if name := text(request, "statement"); name != "" {
		run, statement = scope.Run, name
	}
	result, err := run(ctx, statement, parameters(request)...)
	if err != nil {
		return nil, err
	}
	return shownResult(result), nil
}

func (r runner) stream(ctx context.Context, request object) (object, error) {
	ctx, cancel := limited(ctx, request)
	defer cancel()
	scope := r.scope(request).With(options(request))
	begin, statement := scope.Stream, text(request, "sql")
	if name := text(request, "statement"); name != "" {
		begin, statement = scope.StreamStatement, name
	}
	rows := [][]any{}
	var failed *usher.Error
	stream, err := begin(ctx, statement, parameters(request)...)
	if errors.As(err, &failed) {
		return object{"rows": rows, "error": failure(failed)}, nil
	}
	for row, err := range stream.Rows() {
		if errors.As(err, &failed) {
			return object{"rows": rows, "error": failure(failed)}, nil
		}
		rows = append(rows, shownRow(stream.Columns, row.Value))
		if stop, ok := request["stop_after"].(int64); ok && len(rows) == int(stop) {
			return object{"rows": rows, "stopped": true}, nil
		}
	}
	sent := stream.Summary()
	return object{"columns": shownColumns(stream.Columns), "rows": rows, "summary": object{
		"row_count": sent.RowCount, "truncated": sent.Truncated, "command_tag": sent.CommandTag,
	}}, nil
}

var levels = map[string]usher.Isolation{
	"read committed": usher.ReadCommitted, "repeatable read": usher.RepeatableRead, "serializable": usher.Serializable,
}

func (r runner) transaction(ctx context.Context, request object) (object, error) {
	ctx, cancel := limited(ctx, request)
	defer cancel()
	chosen := options(request)
	chosen.Isolation = levels[text(request, "isolation")]
	statements := []usher.Statement{}
	for _, given := range request["statements"].([]any) {
		asked := given.(object)
		statements = append(statements, usher.Statement{
			SQL: text(asked, "sql"), Name: text(asked, "statement"), Parameters: parameters(asked), MaxRows: maxRows(asked),
		})
	}
	results, err := r.scope(request).With(chosen).Transaction(ctx, statements...)
	if err != nil {
		return nil, err
	}
	shown := []object{}
	for _, result := range results {
		shown = append(shown, shownResult(result))
	}
	return object{"results": shown}, nil
}

func limited(ctx context.Context, request object) (context.Context, context.CancelFunc) {
	if timeout := seconds(request, "timeout"); timeout != 0 {
		return context.WithTimeout(ctx, timeout)
	}
	return ctx, func() {}
}

func options(request object) usher.QueryOptions {
	readOnly, _ := request["read_only"].(bool)
	return usher.QueryOptions{
		ReadOnly: readOnly, MaxRows: maxRows(request), StatementTimeout: seconds(request, "statement_timeout"),
	}
}

func maxRows(request object) uint32 {
	most, _ := request["max_rows"].(int64)
	return uint32(most)
}

func parameters(request object) []any {
	found := []any{}
	given, _ := request["params"].([]any)
	for _, value := range given {
		found = append(found, native(value))
	}
	return found
}

func shownResult(result *usher.Result) object {
	rows := [][]any{}
	for row := range result.Len() {
		cell := func(column int) any { return result.Value(row, column) }
		rows = append(rows, shownRow(result.Columns, cell))
	}
	return object{
		"columns": shownColumns(result.Columns), "rows": rows, "truncated": result.Truncated,
		"command_tag": result.CommandTag, "affected_rows": result.AffectedRows,
	}
}

func shownColumns(columns []*pb.Column) [][]string {
	found := [][]string{}
	for _, meta := range columns {
		found = append(found, []string{meta.GetName(), meta.GetTypeName(), kind(meta.GetKind())})
	}
	return found
}

func shownRow(columns []*pb.Column, cell func(int) any) []any {
	cells := []any{}
	for at, meta := range columns {
		cells = append(cells, shown(cell(at), meta.GetKind(), meta.GetElementKind()))
	}
	return cells
}
