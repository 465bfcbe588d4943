package usher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"usher.dev/client-go/usher"
)

// silent is the address of a server that takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.Addr().String()
}

// 20 deadlines one after the other would take a minute.
func TestWhoWaitedForATokenSharesTheFailure(t *testing.T) {
	waiting := client(t, silent(t), usher.WithRetries(0), usher.WithTimeout(3*time.Second))
	source := waiting.TokenSource("alice", nil, usher.TokenOptions{})
	failures := make(chan error, 20)
	for range cap(failures) {
		go func() {
			_, err := source.Token(context.Background())
			failures <- err
		}()
	}
	late := time.After(15 * time.Second)
	for range cap(failures) {
		select {
		case err := <-failures:
			wantReason(t, err, "CLIENT_DEADLINE")
		case <-late:
			t.Fatal("they waited one after the other")
		}
	}
}

func TestWhoWaitsForATokenWaitsNoLongerThanItsContext(t *testing.T) {
	asking := client(t, silent(t), usher.WithRetries(0), usher.WithTimeout(30*time.Second))
	source := asking.TokenSource("alice", nil, usher.TokenOptions{})
	first := make(chan error)
	firstCtx, end := context.WithCancel(t.Context())
	go func() {
		_, err := source.Token(firstCtx)
		first <- err
	}()
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := source.Token(short)
	wantReason(t, err, "CLIENT_DEADLINE")
	end()
	wantReason(t, <-first, "CLIENT_CANCELLED")
}

func TestNothingPrintsAKeyTokenOrClaim(t *testing.T) {
	live := client(t, "", usher.WithKey("secret"))
	claims := map[string]any{"n": "secret"}
	token, err := live.IssueToken(t.Context(), "alice", claims, usher.TokenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	source := live.TokenSource("secret", claims, usher.TokenOptions{})
	for _, value := range []any{live, live.AsUser("secret", claims), live.WithToken("secret"), source, token, *token} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", value)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
			fmt.Fprintf(&log, verb, value)
		}
		if shown := log.String(); strings.Contains(shown, "secret") || strings.Contains(shown, token.GetToken()) {
			t.Errorf("%T: %s", value, shown)
		}
	}
}

func TestClaimsOfGoTypes(t *testing.T) {
	type role string
	pointed := "p"
	claims := map[string]any{
		"roles": []role{"reader"}, "of": map[role]int{"a": 1}, "number": json.Number("7"), "half": json.Number("0.5"),
		"pointer": &pointed, "none": (*string)(nil), "small": uint8(3),
	}
	live := client(t, "")
	token, err := live.IssueToken(t.Context(), "alice", claims, usher.TokenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := token.GetClaims().AsMap()
	for name, want := range map[string]any{
		"roles": []any{"reader"}, "of": map[string]any{"a": 1.0}, "number": 7.0, "half": 0.5,
		"pointer": "p", "none": nil, "small": 3.0,
	} {
		if !reflect.DeepEqual(found[name], want) {
			t.Errorf("%s: %v, not %v", name, found[name], want)
		}
	}
	for reason, claim := range map[string]any{
		"CLIENT_INVALID": []byte("x"), "CLAIM_NOT_EXACT": json.Number("9007199254740993"),
	} {
		_, err := live.IssueToken(t.Context(), "alice", map[string]any{"c": claim}, usher.TokenOptions{})
		wantReason(t, err, reason)
	}
}
