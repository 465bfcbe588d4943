package usher

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const dialTimeout = 5 * time.Second

// turns sends HTTP requests to the sidecars of its addresses in turn. One that cannot be reached is left out until
// it can be again.
type turns struct {
	url   string
	peers []*peer
	next  atomic.Uint32
	open  context.Context
}

// peer is a sidecar and the connections to it.
type peer struct {
	*http.Transport
	host string
	dial func(context.Context) (net.Conn, error)
	away atomic.Bool
}

func newTurns(open context.Context, targets []string, config *tls.Config) *turns {
	made := &turns{open: open}
	for _, target := range targets {
		network, address, host := "tcp", target, target
		if path, found := strings.CutPrefix(target, "unix:"); found {
			network, address, host = "unix", path, "localhost"
		}
		dialer := net.Dialer{Timeout: dialTimeout}
		dial := func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, network, address) }
		transport := &http.Transport{
			DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			TLSClientConfig:     config.Clone(),
			TLSHandshakeTimeout: dialTimeout,
			MaxIdleConnsPerHost: 100,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
			Protocols:           new(http.Protocols),
		}
		transport.Protocols.SetHTTP1(true)
		made.peers = append(made.peers, &peer{Transport: transport, host: host, dial: dial})
	}
	scheme := "http://"
	if config != nil {
		scheme = "https://"
	}
	made.url = scheme + made.peers[0].host
	return made
}

// Do sends a request to whose turn it is. What was not sent, as nobody was there, is sent to the next.
func (t *turns) Do(request *http.Request) (response *http.Response, err error) {
	for _, peer := range t.inTurn() {
		sent := request.Clone(request.Context())
		sent.URL.Host, sent.Host = peer.host, peer.host
		if sent.Body, err = request.GetBody(); err != nil {
			return nil, err
		}
		response, err = peer.RoundTrip(sent)
		var network *net.OpError
		if !errors.As(err, &network) || network.Op != "dial" || request.Context().Err() != nil {
			return response, err
		}
		if len(t.peers) > 1 && !peer.away.Swap(true) {
			go peer.await(t.open)
		}
	}
	return nil, err
}

// inTurn are those that are not away, or else all, from the next one on.
func (t *turns) inTurn() []*peer {
	found := []*peer{}
	for _, peer := range t.peers {
		if !peer.away.Load() {
			found = append(found, peer)
		}
	}
	if len(found) == 0 {
		found = t.peers
	}
	first := int(t.next.Add(1) % uint32(len(found)))
	return append(found[first:len(found):len(found)], found[:first]...)
}

// await has the peer take turns again once it can be reached.
func (p *peer) await(open context.Context) {
	for wait := firstWait; ; wait = min(longestWait, 2*wait) {
		select {
		case <-open.Done():
			return
		case <-time.After(wait):
		}
		if conn, err := p.dial(open); err == nil {
			_ = conn.Close()
			p.away.Store(false)
			return
		}
	}
}

func (t *turns) close() {
	for _, peer := range t.peers {
		peer.CloseIdleConnections()
	}
}
