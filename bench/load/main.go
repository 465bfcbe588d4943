// Command load sends requests as fast as they are answered, or at a steady rate, and says what it saw.
//
// It reads one JSON document, a plan, from its input. It writes the line "begin" when it is warm, "end" when
// the measured time is over, and then one line of JSON. Between the two lines somebody else reads the CPU of
// the servers. What it sends are bytes that it was given: it knows no service.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Plan says what to send, how much of it and for how long.
type Plan struct {
	// Calls are made one after the other; together they are one operation, whose time is measured.
	Calls []Call `json:"calls"`
	// Outstanding operations at any time. With Rate, the most that may be under way.
	Outstanding int `json:"outstanding"`
	// Rate in operations a second, sent when they are due whether or not others were answered; 0: closed loop.
	Rate        float64 `json:"rate"`
	Connections int     `json:"connections"`
	Warm        float64 `json:"warm_seconds"`
	Seconds     float64 `json:"seconds"`
	// Least operations to end in the measured time, which lasts up to Deadline longer for them.
	Least int64 `json:"least"`
	// Deadline of one call, in seconds.
	Deadline float64 `json:"deadline"`
	TLS      *Files  `json:"tls"`
}

// Call is one kind of request. Its bodies take turns.
type Call struct {
	// Kind is grpc, stream (gRPC, many answers) or http.
	Kind string `json:"kind"`
	// Address is where to send it; several, separated by commas, take turns.
	Address string            `json:"address"`
	Path    string            `json:"path"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"`
	Bodies  [][]byte          `json:"bodies"`
}

func (call Call) addresses() []string {
	return strings.Split(call.Address, ",")
}

// Files of TLS, in PEM.
type Files struct {
	Authority   string `json:"authority"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

func main() {
	var plan Plan
	if err := json.NewDecoder(os.Stdin).Decode(&plan); err != nil {
		fail(err)
	}
	operation, err := prepare(plan)
	if err != nil {
		fail(err)
	}
	seen := run(plan, operation)
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(1)
}

// cpu is the processor time of this process so far.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
