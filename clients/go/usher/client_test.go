// What the scenarios do not see, as they see the same of every language. USHER_ADDRESS names a live sidecar.
package usher_test

import (
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"usher.dev/client-go/usher"
)

func client(t *testing.T, target string, options ...usher.Option) *usher.Client {
	t.Helper()
	made, err := usher.New(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { made.Close() })
	return made
}

func nobody(t *testing.T) *usher.Client { return client(t, "127.0.0.1:1", usher.WithRetries(0)) }

func wantReason(t *testing.T, err error, reason string) *usher.Error {
	t.Helper()
	var failed *usher.Error
	if !errors.As(err, &failed) || failed.Reason != reason {
		t.Fatalf("%v, not %s", err, reason)
	}
	return failed
}

func TestAKeyGoesToThisMachineInTheClearAndNowhereElse(t *testing.T) {
	for _, target := range []string{"127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/usher.sock"} {
		client(t, target, usher.WithKey("usher_k"))
	}
	for _, target := range []string{"example.org:1", "192.0.2.1:1", "127.example.org:1", "[::2]:1", "localhost.org:1"} {
		_, err := usher.New(target, usher.WithKey("usher_k"))
		wantReason(t, err, "CLIENT_INVALID")
		client(t, target, usher.WithKey("usher_k"), usher.WithTLS(&tls.Config{}))
	}
	for _, key := range []string{"", "a\nb", "a b"} {
		_, err := usher.New("127.0.0.1:1", usher.WithKey(key))
		wantReason(t, err, "CLIENT_INVALID")
	}
}

func TestWhatIsNoTargetIsRefused(t *testing.T) {
	for _, target := range []string{"localhost", "x:70000", "a@b:1", "dns:///x:1", "http://x:1", "x:1/y", "unix:"} {
		_, err := usher.New(target)
		wantReason(t, err, "CLIENT_INVALID")
	}
}

func TestNoConfigurationOfTLSIsTLS(t *testing.T) {
	secured := client(t, "", usher.WithTLS(nil), usher.WithRetries(0))
	_, err := secured.IssueToken(t.Context(), "a", nil, usher.TokenOptions{})
	wantReason(t, err, "CLIENT_UNREACHABLE") // the live sidecar speaks plain text
}

func TestWhatCannotBeSentNamesItsPlace(t *testing.T) {
	for _, value := range []any{
		struct{}{}, func() {}, "\xff", []any{[]any{make(chan int)}}, json.RawMessage("{"), map[string]int{},
	} {
		_, err := nobody(t).AsUser("a", nil).Query(t.Context(), "SELECT $1, $2", 1, value)
		if failed := wantReason(t, err, "CLIENT_INVALID"); !strings.Contains(failed.Message, "parameters[1]") {
			t.Errorf("%v: %v", value, failed)
		}
	}
}

func TestTextThatIsNotUTF8IsRefused(t *testing.T) {
	none := nobody(t)
	_, err := none.IssueToken(t.Context(), "a", nil, usher.TokenOptions{Audiences: []string{"\xff"}})
	wantReason(t, err, "CLIENT_INVALID")
	_, err = none.VerifyToken(t.Context(), "\xff", "")
	wantReason(t, err, "CLIENT_INVALID")
	_, err = none.WithToken("\xff").WhoAmI(t.Context())
	wantReason(t, err, "CLIENT_INVALID")
	_, err = none.AsUser("\xff", nil).Run(t.Context(), "statement")
	wantReason(t, err, "CLIENT_INVALID")
	_, err = none.AsUser("a", nil).Query(t.Context(), "SELECT '\xff'")
	wantReason(t, err, "CLIENT_INVALID")
}

func TestClaimsThatAStructDoesNotHoldAreRefused(t *testing.T) {
	for reason, claims := range map[string][]any{
		"CLIENT_INVALID":  {func() {}, "\xff", []any{make(chan int)}, math.NaN(), math.Inf(1)},
		"CLAIM_NOT_EXACT": {1 << 53, int64(-1 << 53), uint64(1 << 63), []any{map[string]any{"n": 1 << 60}}},
	} {
		for _, claim := range claims {
			_, err := nobody(t).IssueToken(t.Context(), "a", map[string]any{"claim": claim}, usher.TokenOptions{})
			wantReason(t, err, reason)
			_, err = nobody(t).AsUser("a", map[string]any{"claim": claim}).Query(t.Context(), "SELECT 1")
			wantReason(t, err, reason)
		}
	}
}

func TestNoErrorShowsATokenClaimOrParameter(t *testing.T) {
	none := nobody(t)
	claims := map[string]any{"n": "secret"}
	for _, scope := range []*usher.Scope{none.WithToken("secret-token"), none.AsUser("secret-sub", claims)} {
		_, err := scope.Query(t.Context(), "SELECT 'secret'", "secret")
		failed := wantReason(t, err, "CLIENT_UNREACHABLE")
		if text, _ := json.Marshal(failed); strings.Contains(string(text)+failed.Error(), "secret") {
			t.Error(failed)
		}
	}
}

func TestASilentServerDoesNotHoldACall(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	waiting := client(t, silent.Addr().String(), usher.WithRetries(0), usher.WithTimeout(300*time.Millisecond))
	_, err = waiting.IssueToken(t.Context(), "a", nil, usher.TokenOptions{})
	wantReason(t, err, "CLIENT_DEADLINE")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error("it is no context.DeadlineExceeded")
	}
}

func TestCloseEndsTheCallsUnderWay(t *testing.T) { byEach(t, closeEndsTheCallsUnderWay) }

func closeEndsTheCallsUnderWay(t *testing.T, live func() *usher.Client) {
	closing := live()
	retrying := client(t, "127.0.0.1:1", usher.WithRetries(1000))
	failures := make(chan error, 2)
	go func() {
		_, err := closing.AsUser("alice", nil).Query(context.Background(), "SELECT pg_sleep(5)")
		failures <- err
	}()
	go func() {
		_, err := retrying.IssueToken(context.Background(), "a", nil, usher.TokenOptions{})
		failures <- err
	}()
	if _, err := closing.IssueToken(t.Context(), "alice", nil, usher.TokenOptions{}); err != nil {
		t.Fatal(err)
	}
	closing.Close()
	retrying.Close()
	for range 2 {
		wantReason(t, <-failures, "CLIENT_CLOSED")
	}
	_, err := closing.AsUser("alice", nil).Query(t.Context(), "SELECT 1")
	wantReason(t, err, "CLIENT_CLOSED")
}

func TestACancelledContextIsACancelledCall(t *testing.T) {
	byEach(t, aCancelledContextIsACancelledCall)
}

func aCancelledContextIsACancelledCall(t *testing.T, live func() *usher.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	_, err := live().AsUser("alice", nil).Query(ctx, "SELECT pg_sleep(5)")
	if wantReason(t, err, "CLIENT_CANCELLED"); !errors.Is(err, context.Canceled) {
		t.Error("it is no context.Canceled")
	}
}

func TestATokenSourceAsksAgainAfterAFailure(t *testing.T) {
	source := nobody(t).TokenSource("alice", nil, usher.TokenOptions{})
	for range 2 {
		_, err := source.Token(t.Context())
		wantReason(t, err, "CLIENT_UNREACHABLE")
	}
}

func TestCellsByPositionAndName(t *testing.T) {
	rows, err := client(t, "").AsUser("a", nil).Query(
		t.Context(), "SELECT g AS n, -g AS n, 'x' AS t FROM generate_series(1, 3) g")
	if err != nil {
		t.Fatal(err)
	}
	if rows.Len() != 3 || rows.Value(2, 1) != int64(-3) || rows.Columns[2].GetTypeName() != "text" {
		t.Error(rows.Len(), rows.Value(2, 1), rows.Columns[2])
	}
	if cell, err := rows.Named(2, "n"); err != nil || cell != int64(3) {
		t.Error(cell, err)
	}
	if _, err := rows.Named(0, "missing"); !errors.Is(err, usher.ErrNoColumn) {
		t.Error(err)
	}
}

func TestWhatGoHasAndPostgresTakes(t *testing.T) {
	type (
		name   string
		octets []byte
		id     [16]byte
	)
	var none *string
	text, uuid := "pointed", usher.UUID{0x12, 0x3e}
	moment := time.Date(2024, 2, 29, 13, 0, 0, 5000, time.FixedZone("", 3600))
	rows, err := client(t, "").AsUser("alice", nil).Query(t.Context(),
		`SELECT $1::int8, $2::numeric, $3::float4, $4::text, $5::text, $6::int4[], $7::timestamptz, $8::date,
		        $9::uuid, $10::uuid = '123e0000-0000-0000-0000-000000000000', $11::text, $12::bytea, $13::uuid, $14::text, $15::text,
		        $16::numeric, $17::interval, $18::bytea, $19::text[]`,
		uint8(7), uint64(math.MaxUint64), float32(0.5), &text, none, []int{1, 2}, moment, usher.DateOf(moment),
		uuid, uuid.String(), name("named"), octets("ab"), id(uuid), sql.NullString{String: "s", Valid: true}, sql.NullString{},
		big.NewInt(7), 90*time.Second, []byte(nil), []string(nil))
	if err != nil {
		t.Fatal(err)
	}
	wanted := []any{
		int64(7), usher.Numeric("18446744073709551615"), 0.5, "pointed", nil, []any{int64(1), int64(2)}, moment.UTC(),
		usher.Date(19782), uuid, true, "named", []byte("ab"), uuid, "s", nil, usher.Numeric("7"),
		usher.Interval{Micros: 90_000_000}, nil, nil,
	}
	for at, want := range wanted {
		if got := rows.Value(0, at); !reflect.DeepEqual(got, want) {
			t.Errorf("%d: %v (%T), not %v", at, got, got, want)
		}
	}
}

func TestInfinities(t *testing.T) {
	rows, err := client(t, "").AsUser("a", nil).Query(
		t.Context(), "SELECT 'infinity'::date, '-infinity'::timestamp, 'infinity'::timestamptz, '2024-02-29'::date")
	if err != nil {
		t.Fatal(err)
	}
	date, past := rows.Value(0, 0).(usher.Date), rows.Value(0, 1).(usher.Timestamp)
	future, plain := rows.Value(0, 2).(usher.Timestamp), rows.Value(0, 3).(usher.Date)
	if date.Infinite() != 1 || past.Infinite() != -1 || future.Infinite() != 1 || plain.Infinite() != 0 {
		t.Error(date, past, future, plain)
	}
	if want := time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC); plain.Time() != want {
		t.Error(plain.Time())
	}
}
