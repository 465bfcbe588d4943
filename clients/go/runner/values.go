package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"usher.dev/client-go/usher"
	pb "usher.dev/client-go/usher/v1"
)

func kind(kind pb.Kind) string { return strings.TrimPrefix(kind.String(), "KIND_") }

func native(value any) any {
	if value == nil {
		return nil
	}
	for kind, content := range value.(object) {
		text, _ := content.(string)
		switch kind {
		case "bool":
			return content
		case "int":
			number, err := strconv.ParseInt(text, 10, 64)
			check(err)
			return number
		case "float":
			bits, err := strconv.ParseUint(text, 16, 64)
			check(err)
			return math.Float64frombits(bits)
		case "bytes":
			octets, err := hex.DecodeString(text)
			check(err)
			return octets
		case "numeric":
			return usher.Numeric(text)
		case "date":
			return date(content)
		case "time":
			if micros, ok := content.(int64); ok {
				return usher.Time(micros)
			}
			moment, err := time.Parse("15:04:05.999999", text)
			check(err)
			midnight := time.Date(moment.Year(), moment.Month(), moment.Day(), 0, 0, 0, 0, time.UTC)
			return usher.Time(moment.Sub(midnight).Microseconds())
		case "timestamp", "timestamptz":
			return moment(content, kind)
		case "interval":
			parts := content.([]any)
			return usher.Interval{
				Months: int32(parts[0].(int64)), Days: int32(parts[1].(int64)), Micros: parts[2].(int64),
			}
		case "uuid":
			octets, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
			check(err)
			return usher.UUID(octets)
		case "json":
			return json.RawMessage(text)
		case "array":
			items := []any{}
			for _, item := range content.([]any) {
				items = append(items, native(item))
			}
			return items
		}
		return text
	}
	panic("a value has one member")
}

func date(content any) usher.Date {
	switch content {
	case "infinity":
		return math.MaxInt32
	case "-infinity":
		return math.MinInt32
	}
	if days, ok := content.(int64); ok {
		return usher.Date(days)
	}
	day, err := time.Parse(time.DateOnly, content.(string))
	check(err)
	return usher.DateOf(day)
}

func moment(content any, kind string) any {
	switch content {
	case "infinity":
		return usher.Timestamp{Seconds: math.MaxInt64}
	case "-infinity":
		return usher.Timestamp{Seconds: math.MinInt64}
	}
	var found time.Time
	if parts, ok := content.([]any); ok {
		found = time.Unix(parts[0].(int64), parts[1].(int64)*1000)
	} else {
		parsed, err := time.Parse("2006-01-02T15:04:05.999999", strings.TrimSuffix(content.(string), "Z"))
		check(err)
		found = parsed
	}
	if kind == "timestamptz" {
		return found
	}
	return usher.Timestamp{Seconds: found.Unix(), Micros: uint32(found.Nanosecond() / 1000)}
}

func shown(value any, of, element pb.Kind) any {
	name := strings.ToLower(kind(of))
	switch value := value.(type) {
	case nil:
		return nil
	case int64:
		return object{name: strconv.FormatInt(value, 10)}
	case float64:
		return object{name: fmt.Sprintf("%016x", math.Float64bits(value))}
	case []byte:
		return object{name: hex.EncodeToString(value)}
	case usher.UUID:
		return object{name: value.String()}
	case json.RawMessage:
		return object{name: string(value)}
	case usher.Interval:
		return object{name: []any{value.Months, value.Days, value.Micros}}
	case usher.Date:
		return object{name: shownDate(value)}
	case usher.Time:
		if value == 86_400_000_000 {
			return object{name: int64(value)}
		}
		return object{name: clock(time.UnixMicro(int64(value)).UTC(), "15:04:05")}
	case usher.Timestamp:
		if value.Infinite() != 0 {
			return object{name: infinity(value.Infinite())}
		}
		return object{name: shownMoment(value.Time(), "")}
	case time.Time:
		return object{name: shownMoment(value, "Z")}
	case []any:
		items := []any{}
		for _, item := range value {
			items = append(items, shown(item, element, 0))
		}
		return object{name: items}
	}
	return object{name: value}
}

func shownDate(date usher.Date) any {
	if date.Infinite() != 0 {
		return infinity(date.Infinite())
	}
	if year := date.Time().Year(); year < 1 || year > 9999 {
		return int(date)
	}
	return date.Time().Format(time.DateOnly)
}

func shownMoment(moment time.Time, zone string) any {
	if moment.Year() < 1 || moment.Year() > 9999 {
		return []any{moment.Unix(), moment.Nanosecond() / 1000}
	}
	return clock(moment, "2006-01-02T15:04:05") + zone
}

func clock(moment time.Time, layout string) string {
	if moment.Nanosecond() != 0 {
		layout += ".000000"
	}
	return moment.Format(layout)
}

func infinity(sign int) string {
	if sign < 0 {
		return "-infinity"
	}
	return "infinity"
}
