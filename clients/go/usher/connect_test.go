package usher_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"usher.dev/client-go/usher"
)

// byEach runs a test with clients of the live sidecar by gRPC, and by Connect at USHER_CONNECT_ADDRESS.
func byEach(t *testing.T, test func(t *testing.T, live func() *usher.Client)) {
	t.Helper()
	t.Run("gRPC", func(t *testing.T) {
		test(t, func() *usher.Client { return client(t, "") })
	})
	t.Run("Connect", func(t *testing.T) {
		test(t, func() *usher.Client { return client(t, os.Getenv("USHER_CONNECT_ADDRESS"), usher.WithConnect()) })
	})
}

// answering gives a client by Connect of a server that answers so.
func answering(t *testing.T, answer http.HandlerFunc, options ...usher.Option) *usher.Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	options = append(options, usher.WithConnect(), usher.WithRetries(0))
	return client(t, strings.TrimPrefix(server.URL, "http://"), options...)
}

func TestWhatHasNoConnectIsUnimplemented(t *testing.T) {
	_, err := client(t, os.Getenv("USHER_CONNECT_ADDRESS"), usher.WithConnect()).ListKeys(t.Context())
	if failed := wantReason(t, err, "CLIENT_OTHER"); failed.Code != codes.Unimplemented {
		t.Error(failed)
	}
}

func TestAnAnswerThatBreaksOffIsUnreachable(t *testing.T) {
	broken := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte{0, 0, 0, 1})
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	_, err := broken.IssueToken(t.Context(), "a", nil, usher.TokenOptions{})
	wantReason(t, err, "CLIENT_UNREACHABLE")
	_, err = broken.AsUser("a", nil).Stream(t.Context(), "SELECT 1")
	wantReason(t, err, "CLIENT_UNREACHABLE")
}

func TestARedirectIsNotFollowed(t *testing.T) {
	var followed atomic.Bool
	moved := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			followed.Store(true)
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}, usher.WithKey("usher_k"))
	if _, err := moved.IssueToken(t.Context(), "a", nil, usher.TokenOptions{}); err == nil || followed.Load() {
		t.Error(err, followed.Load())
	}
}

func TestASilentServerDoesNotHoldACallByConnect(t *testing.T) {
	silent := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // until then the server does not look whether the client is there
		<-r.Context().Done()
	}, usher.WithTimeout(300*time.Millisecond))
	_, err := silent.IssueToken(t.Context(), "a", nil, usher.TokenOptions{})
	wantReason(t, err, "CLIENT_DEADLINE")
}
