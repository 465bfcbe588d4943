// Command runner runs scenarios through the Go client: one JSON request a line in, one JSON answer a line
// out. clients/CONTRACT.md describes both.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"usher.dev/client-go/usher"
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
		return object{"error": failure(failed)}
	}
	check(err)
	return answer
}

func failure(failed *usher.Error) object {
	fields := slices.Sorted(maps.Keys(failed.Fields))
	if fields == nil {
		fields = []string{}
	}
	var state any
	if failed.SQLState() != "" {
		state = failed.SQLState()
	}
	found := object{
		"code": failed.Status(), "reason": failed.Reason, "sqlstate": state, "retryable": failed.Retryable, "fields": fields,
	}
	if at := failed.StatementIndex(); at >= 0 {
		found["statement_index"] = at
	}
	return found
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
	case "stream":
		return r.stream(ctx, request)
	case "transaction":
		return r.transaction(ctx, request)
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
	if request["protocol"] == "connect" {
		options = append(options, usher.WithConnect())
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
