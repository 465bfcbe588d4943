package usher

import (
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var hostAndPort = regexp.MustCompile(`^(?:\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+):(\d{1,5})$`)

// addresses are those of a target, checked: one, or several of one kind.
func addresses(target string, secure bool) ([]string, error) {
	found := strings.Split(target, ",")
	kinds := []string{}
	for _, one := range found {
		if !isTarget(one) {
			return nil, invalid("CLIENT_INVALID", "target: write host:port or unix:/path, or several with commas between")
		}
		kinds = append(kinds, kind(one, secure))
	}
	if len(found) > 1 && (kinds[0] == "" || len(slices.Compact(kinds)) > 1) {
		return nil, invalid("CLIENT_INVALID",
			"target: several are all IPv4, all IPv6 or all Unix sockets, without names; by TLS all of one IP address")
	}
	return found, nil
}

// kind is what several addresses must have in common; "" for a name, which is not theirs alone.
func kind(target string, secure bool) string {
	if strings.HasPrefix(target, "unix:") {
		return "unix"
	}
	host, _, _ := net.SplitHostPort(target)
	address, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return ""
	case secure:
		return address.String()
	case address.Is4():
		return "IPv4"
	}
	return "IPv6"
}

func isTarget(target string) bool {
	if path, found := strings.CutPrefix(target, "unix:"); found {
		return path != ""
	}
	parts := hostAndPort.FindStringSubmatch(target)
	if parts == nil {
		return false
	}
	port, err := strconv.Atoi(parts[1])
	return err == nil && port <= math.MaxUint16
}

// isElsewhere says whether what is sent there leaves this machine.
func isElsewhere(target string) bool {
	if strings.HasPrefix(target, "unix:") {
		return false
	}
	host, _, err := net.SplitHostPort(target)
	return err != nil || host != "localhost" && !net.ParseIP(host).IsLoopback()
}
