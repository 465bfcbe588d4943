// Command runner runs scenarios through the Go client: one JSON request a line in, one JSON answer a line
// out. clients/CONTRACT.md describes both.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"usher.dev/client-go/usher"
	pb "usher.dev/client-go/usher/v1"
)

type object = map[string]any

type runner struct {
	clients map[string]*usher.Client
	sources map[string]*usher.TokenSource
	tokens  map[string]string
}

func main() {
	run := runner{map[string]*usher.Client{}, map[string]*usher.TokenSource{}, map[string]string{}}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var request object
		decoder := json.NewDecoder(strings.NewReader(lines.Text()))
		decoder.UseNumber()
		check(decoder.Decode(&request))
		answer, err := json.Marshal(run.answer(numbers(request).(object)))
		check(err)
		fmt.Println(string(answer))
	}
	check(lines.Err())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// numbers makes integers of those that are, and floats of the others.
func numbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		number, _ := value.Float64()
		return number
	case object:
		for name, item := range value {
			value[name] = numbers(item)
		}
	case []any:
		for at, item := range value {
			value[at] = numbers(item)
		}
	}
	return value
}

func (r runner) answer(request object) object {
	answer, err := r.do(context.Background(), request)
	var failed *usher.Error
	if errors.As(err, &failed) {
		fields := []string{}
		for field := range failed.Fields {
			fields = append(fields, field)
		}
		slices.Sort(fields)
		var state any
		if failed.SQLState() != "" {
			state = failed.SQLState()
		}
		return object{"error": object{
			"code": failed.Status(), "reason": failed.Reason, "sqlstate": state,
			"retryable": failed.Retryable, "fields": fields,
		}}
	}
	check(err)
	return answer
}

func (r runner) do(ctx context.Context, request object) (object, error) {
	client := r.clients[text(request, "client")]
	switch request["do"] {
	case "connect":
		return r.connect(request)
	case "close":
		return object{"ok": true}, client.Close()
	case "query":
		return r.query(ctx, request)
	case "issue":
		audiences := []string{}
		if given, ok := request["audiences"].([]any); ok {
			for _, one := range given {
				audiences = append(audiences, one.(string))
			}
		}
		options := usher.TokenOptions{Audiences: audiences, TTL: seconds(request, "ttl")}
		token, err := client.IssueToken(ctx, text(request, "sub"), claims(request), options)
		if err != nil {
			return nil, err
		}
		r.tokens[text(request, "save")] = token.GetToken()
		life := token.GetExpireTime().AsTime().Sub(token.GetIssueTime().AsTime())
		return object{"token": object{
			"alg": token.GetAlg(), "lifetime": int(life.Seconds()), "kid_length": len(token.GetKid()),
		}}, nil
	case "source":
		return r.source(ctx, client, request)
	case "verify":
		token := text(request, "token")
		if saved, ok := request["saved"]; ok {
			token = r.tokens[saved.(string)]
		}
		verified, err := client.VerifyToken(ctx, token, text(request, "audience"))
		if err != nil {
			return nil, err
		}
		kept := verified.GetClaims().AsMap()
		for _, name := range []string{"iat", "exp", "nbf", "jti", "iss"} {
			delete(kept, name)
		}
		return object{"claims": kept}, nil
	case "whoami":
		seen, err := r.scope(request).WhoAmI(ctx)
		if err != nil {
			return nil, err
		}
		return object{"role": seen.GetRole(), "user_id": seen.UserId, "backend_kind": seen.GetBackendKind()}, nil
	case "keys":
		keys, err := client.ListKeys(ctx)
		if err != nil {
			return nil, err
		}
		states := map[string]int{}
		for _, key := range keys {
			states[strings.ToLower(strings.TrimPrefix(key.GetState().String(), "KEY_STATE_"))]++
		}
		return object{"states": states}, nil
	case "many":
		return r.many(request), nil
	}
	return object{"unsupported": true}, nil
}

func (r runner) connect(request object) (object, error) {
	var options []usher.Option
	if key, ok := request["key"].(string); ok {
		options = append(options, usher.WithKey(key))
	}
	if retries, ok := request["retries"].(int64); ok {
		options = append(options, usher.WithRetries(int(retries)))
	}
	if ca := text(request, "ca"); ca != "" {
		config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		config.RootCAs.AppendCertsFromPEM([]byte(ca))
		if cert := text(request, "cert"); cert != "" {
			pair, err := tls.X509KeyPair([]byte(cert), []byte(text(request, "private_key")))
			check(err)
			config.Certificates = []tls.Certificate{pair}
		}
		options = append(options, usher.WithTLS(config))
	}
	client, err := usher.New(text(request, "target"), options...)
	if err != nil {
		return nil, err
	}
	r.clients[text(request, "client")] = client
	return object{"ok": true}, nil
}

func (r runner) scope(request object) *usher.Scope {
	client, scope := r.clients[text(request, "client")], request["scope"].(object)
	if saved, ok := scope["saved"]; ok {
		return client.WithToken(r.tokens[saved.(string)])
	}
	if token, ok := scope["token"]; ok {
		return client.WithToken(token.(string))
	}
	return client.AsUser(text(scope, "sub"), claims(scope))
}

func (r runner) query(ctx context.Context, request object) (object, error) {
	if after := seconds(request, "cancel_after"); after != 0 {
		cancelled, cancel := context.WithCancel(ctx)
		ctx = cancelled
		time.AfterFunc(after, cancel)
	}
	if timeout := seconds(request, "timeout"); timeout != 0 {
		limited, cancel := context.WithTimeout(ctx, timeout)
		ctx = limited
		defer cancel()
	}
	options := usher.QueryOptions{StatementTimeout: seconds(request, "statement_timeout")}
	options.ReadOnly, _ = request["read_only"].(bool)
	if most, ok := request["max_rows"].(int64); ok {
		options.MaxRows = uint32(most)
	}
	parameters := []any{}
	if given, ok := request["params"].([]any); ok {
		for _, value := range given {
			parameters = append(parameters, native(value))
		}
	}
	scope := r.scope(request).With(options)
	run, statement := scope.Query, text(request, "sql")
	if name := text(request, "statement"); name != "" {
		run, statement = scope.Run, name
	}
	result, err := run(ctx, statement, parameters...)
	if err != nil {
		return nil, err
	}
	columns, rows := [][]string{}, [][]any{}
	for _, meta := range result.Columns {
		columns = append(columns, []string{meta.GetName(), meta.GetTypeName(), kind(meta.GetKind())})
	}
	for row := range result.Len() {
		cells := []any{}
		for at, meta := range result.Columns {
			cells = append(cells, shown(result.Value(row, at), meta.GetKind(), meta.GetElementKind()))
		}
		rows = append(rows, cells)
	}
	return object{
		"columns": columns, "rows": rows, "truncated": result.Truncated,
		"command_tag": result.CommandTag, "affected_rows": result.AffectedRows,
	}, nil
}

func (r runner) source(ctx context.Context, client *usher.Client, request object) (object, error) {
	name := text(request, "source")
	if r.sources[name] == nil {
		options := usher.TokenOptions{TTL: seconds(request, "ttl")}
		r.sources[name] = client.TokenSource(text(request, "sub"), claims(request), options)
	}
	count := int(request["calls"].(int64))
	tokens, failures := make([]string, count), make([]error, count)
	var calls sync.WaitGroup
	for at := range count {
		ask := func() {
			token, err := r.sources[name].Token(ctx)
			if failures[at] = err; err == nil {
				tokens[at] = token.GetToken()
			}
		}
		if request["parallel"] == true {
			calls.Go(ask)
		} else {
			ask()
			time.Sleep(seconds(request, "pause"))
		}
	}
	calls.Wait()
	slices.Sort(tokens)
	return object{"distinct": len(slices.Compact(tokens))}, errors.Join(failures...)
}

func (r runner) many(request object) object {
	one := request["request"].(object)
	one["client"] = request["client"]
	texts := make([]string, request["count"].(int64))
	var calls sync.WaitGroup
	for at := range texts {
		calls.Go(func() {
			answer, err := json.Marshal(r.answer(one))
			check(err)
			texts[at] = string(answer)
		})
	}
	calls.Wait()
	counts := map[string]int{}
	for _, answer := range texts {
		counts[answer]++
	}
	answers := [][]any{}
	for answer, count := range counts {
		answers = append(answers, []any{json.RawMessage(answer), count})
	}
	slices.SortFunc(answers, func(a, b []any) int { return b[1].(int) - a[1].(int) })
	return object{"answers": answers}
}

func text(request object, name string) string {
	found, _ := request[name].(string)
	return found
}

func claims(request object) map[string]any {
	found, _ := request["claims"].(object)
	return found
}

func seconds(request object, name string) time.Duration {
	switch value := request[name].(type) {
	case int64:
		return time.Duration(value) * time.Second
	case float64:
		return time.Duration(value * float64(time.Second))
	}
	return 0
}

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
