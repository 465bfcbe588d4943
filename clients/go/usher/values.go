package usher

import (
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"

	pb "usher.dev/client-go/usher/v1"
)

// The types that Go lacks. All hold exactly what Postgres holds.
type (
	// Numeric is a numeric in decimal text, NaN and Infinity included.
	Numeric string
	// Date is days since 1970-01-01; the extreme values are infinite.
	Date int32
	// Time is a time of day in microseconds; 24:00:00 exists.
	Time int64
	// UUID is a uuid in the order of its text form.
	UUID [16]byte
)

// Timestamp is a timestamp without time zone, or an infinite one with: seconds since 1970-01-01 rounded
// down, extreme values for the infinities, and microseconds.
type Timestamp struct {
	Seconds int64
	Micros  uint32
}

// Interval is an interval as Postgres keeps it: parts that do not convert into each other.
type Interval struct {
	Months, Days int32
	Micros       int64
}

// DateOf is the date of a moment where it stands.
func DateOf(moment time.Time) Date {
	year, month, day := moment.Date()
	return Date(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// Infinite tells 1 for infinity, -1 for -infinity and 0 for a date.
func (d Date) Infinite() int { return infinite(int64(d), math.MaxInt32, math.MinInt32) }

// Time is the date's midnight in UTC.
func (d Date) Time() time.Time { return time.Unix(int64(d)*86400, 0).UTC() }

// Infinite tells 1 for infinity, -1 for -infinity and 0 for a moment.
func (t Timestamp) Infinite() int { return infinite(t.Seconds, math.MaxInt64, math.MinInt64) }

// Time is the wall clock's time as if it were UTC.
func (t Timestamp) Time() time.Time { return time.Unix(t.Seconds, int64(t.Micros)*1000).UTC() }

func infinite(value, most, least int64) int {
	switch value {
	case most:
		return 1
	case least:
		return -1
	}
	return 0
}

// String is the text form of RFC 9562.
func (u UUID) String() string {
	text := hex.EncodeToString(u[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

func parameter(value any, place string) (*pb.Value, error) {
	if isNil(value) {
		return &pb.Value{}, nil
	}
	switch value := value.(type) {
	case bool:
		return &pb.Value{Kind: &pb.Value_BoolValue{BoolValue: value}}, nil
	case string:
		if !utf8.ValidString(value) {
			return nil, invalid("CLIENT_INVALID", "%s: the text is not UTF-8", place)
		}
		return &pb.Value{Kind: &pb.Value_TextValue{TextValue: value}}, nil
	case []byte:
		return &pb.Value{Kind: &pb.Value_BytesValue{BytesValue: value}}, nil
	case json.RawMessage:
		if !json.Valid(value) || !utf8.Valid(value) {
			return nil, invalid("CLIENT_INVALID", "%s: the text is not JSON", place)
		}
		return &pb.Value{Kind: &pb.Value_JsonValue{JsonValue: string(value)}}, nil
	case Numeric:
		return &pb.Value{Kind: &pb.Value_NumericValue{NumericValue: string(value)}}, nil
	case Date:
		return &pb.Value{Kind: &pb.Value_DateValue{DateValue: int32(value)}}, nil
	case Time:
		return &pb.Value{Kind: &pb.Value_TimeValue{TimeValue: int64(value)}}, nil
	case Timestamp:
		return timestamp(value.Seconds, value.Micros), nil
	case time.Time:
		return timestamp(value.Unix(), uint32(value.Nanosecond()/1000)), nil
	case time.Duration:
		return parameter(Interval{Micros: value.Microseconds()}, place)
	case Interval:
		return &pb.Value{Kind: &pb.Value_IntervalValue{
			IntervalValue: &pb.Interval{Months: value.Months, Days: value.Days, Micros: value.Micros},
		}}, nil
	case UUID:
		return &pb.Value{Kind: &pb.Value_UuidValue{UuidValue: value[:]}}, nil
	case *big.Int:
		return parameter(Numeric(value.String()), place)
	case driver.Valuer:
		plain, err := value.Value()
		if err != nil { // its words may quote the value
			return nil, invalid("CLIENT_INVALID", "%s: the Value method of %T fails", place, value)
		}
		return parameter(plain, place)
	}
	return reflected(reflect.ValueOf(value), place)
}

func timestamp(seconds int64, micros uint32) *pb.Value {
	return &pb.Value{Kind: &pb.Value_TimestampValue{TimestampValue: &pb.Timestamp{Seconds: seconds, Micros: micros}}}
}

func isNil(value any) bool {
	held := reflect.ValueOf(value)
	switch held.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Slice:
		return held.IsNil()
	}
	return false
}

// reflected sends numbers of every size, slices of whatever is sent, and what pointers point to.
func reflected(value reflect.Value, place string) (*pb.Value, error) {
	switch {
	case value.Kind() == reflect.String:
		return parameter(value.String(), place)
	case value.Kind() == reflect.Bool:
		return parameter(value.Bool(), place)
	case value.CanInt():
		return &pb.Value{Kind: &pb.Value_IntValue{IntValue: value.Int()}}, nil
	case value.CanUint() && value.Uint() <= math.MaxInt64:
		return &pb.Value{Kind: &pb.Value_IntValue{IntValue: int64(value.Uint())}}, nil
	case value.CanUint():
		return &pb.Value{Kind: &pb.Value_NumericValue{NumericValue: strconv.FormatUint(value.Uint(), 10)}}, nil
	case value.CanFloat():
		return &pb.Value{Kind: &pb.Value_FloatValue{FloatValue: value.Float()}}, nil
	case value.Kind() == reflect.Pointer:
		return parameter(value.Elem().Interface(), place)
	case value.Kind() == reflect.Array && value.Type().ConvertibleTo(reflect.TypeFor[UUID]()):
		return parameter(value.Convert(reflect.TypeFor[UUID]()).Interface(), place)
	case value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Uint8:
		return parameter(value.Bytes(), place)
	case value.Kind() == reflect.Slice:
		array := &pb.ArrayValue{}
		for at := range value.Len() {
			element, err := parameter(value.Index(at).Interface(), fmt.Sprintf("%s[%d]", place, at))
			if err != nil {
				return nil, err
			}
			array.Elements = append(array.Elements, element)
		}
		return &pb.Value{Kind: &pb.Value_ArrayValue{ArrayValue: array}}, nil
	}
	return nil, invalid("CLIENT_INVALID", "%s: %s is no type that is sent; send JSON as json.RawMessage", place, value.Type())
}

func column(kind, element pb.Kind, data *pb.ColumnData, count int) []any {
	cells := make([]any, count)
	nulls := data.GetNulls()
	offset := 0
	var elements []any
	if kind == pb.Kind_KIND_ARRAY {
		total := 0
		for _, length := range data.GetArrays().GetLengths() {
			total += int(length)
		}
		elements = column(element, 0, data.GetArrays().GetElements(), total)
	}
	for row := range count {
		if kind == pb.Kind_KIND_ARRAY {
			length := int(data.GetArrays().GetLengths()[row])
			cells[row] = elements[offset : offset+length : offset+length]
			offset += length
		}
		if row>>3 < len(nulls) && nulls[row>>3]>>(row&7)&1 == 1 {
			cells[row] = nil
		} else if kind != pb.Kind_KIND_ARRAY {
			cells[row] = cell(kind, data, row)
		}
	}
	return cells
}

func cell(kind pb.Kind, data *pb.ColumnData, row int) any {
	switch kind {
	case pb.Kind_KIND_BOOL:
		return data.GetBools()[row]
	case pb.Kind_KIND_INT:
		return data.GetInts()[row]
	case pb.Kind_KIND_FLOAT:
		return data.GetFloats()[row]
	case pb.Kind_KIND_BYTES:
		return data.GetBlobs()[row]
	case pb.Kind_KIND_UUID:
		return UUID(data.GetBlobs()[row])
	case pb.Kind_KIND_NUMERIC:
		return Numeric(data.GetTexts()[row])
	case pb.Kind_KIND_JSON:
		return json.RawMessage(data.GetTexts()[row])
	case pb.Kind_KIND_DATE:
		return Date(data.GetDates()[row])
	case pb.Kind_KIND_TIME:
		return Time(data.GetTimes()[row])
	case pb.Kind_KIND_TIMESTAMP, pb.Kind_KIND_TIMESTAMPTZ:
		found := Timestamp{data.GetTimestamps().GetSeconds()[row], data.GetTimestamps().GetMicros()[row]}
		if kind == pb.Kind_KIND_TIMESTAMPTZ && found.Infinite() == 0 {
			return found.Time()
		}
		return found
	case pb.Kind_KIND_INTERVAL:
		parts := data.GetIntervals()
		return Interval{parts.GetMonths()[row], parts.GetDays()[row], parts.GetMicros()[row]}
	}
	return data.GetTexts()[row]
}

// areText refuses what no message can hold.
func areText(names string, values ...string) error {
	for _, value := range values {
		if !utf8.ValidString(value) {
			return invalid("CLIENT_INVALID", "%s: the text is not UTF-8", names)
		}
	}
	return nil
}
