package usher

import (
	"errors"

	pb "usher.dev/client-go/usher/v1"
)

// Result is the rows of a statement, kept as columns.
type Result struct {
	Columns []*pb.Column
	// Truncated says that there were more rows than the limit.
	Truncated    bool
	CommandTag   string
	AffectedRows int64

	data  [][]any
	count int
	names map[string]int
}

func newResult(response *pb.RunScopedQueryResponse) *Result {
	columns, count := response.GetColumns(), int(response.GetRowCount())
	return &Result{
		Columns:      columns,
		Truncated:    response.GetTruncated(),
		CommandTag:   response.GetCommandTag(),
		AffectedRows: response.GetAffectedRows(),
		data:         cells(columns, response.GetData(), count),
		count:        count,
		names:        positions(columns),
	}
}

// cells are the values of so many rows, a slice for each column.
func cells(columns []*pb.Column, data []*pb.ColumnData, count int) [][]any {
	made := make([][]any, len(data))
	for at, values := range data {
		made[at] = column(columns[at].GetKind(), columns[at].GetElementKind(), values, count)
	}
	return made
}

// positions are the columns by name; of several with one name the first.
func positions(columns []*pb.Column) map[string]int {
	made := map[string]int{}
	for at, meta := range columns {
		if _, found := made[meta.GetName()]; !found {
			made[meta.GetName()] = at
		}
	}
	return made
}

// Len is the number of rows.
func (r *Result) Len() int { return r.count }

// Value is a cell by position: nil for NULL, else of the type that clients/CONTRACT.md names.
func (r *Result) Value(row, column int) any { return r.data[column][row] }

// ErrNoColumn is what Named returns for a name that no column has.
var ErrNoColumn = errors.New("usher: no column has this name")

// Named is a cell by the name of its column; of several with one name the first.
func (r *Result) Named(row int, name string) (any, error) {
	at, found := r.names[name]
	if !found {
		return nil, ErrNoColumn
	}
	return r.data[at][row], nil
}
