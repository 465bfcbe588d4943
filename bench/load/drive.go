package main

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Seen is what one run saw of the operations that ended in the measured time. Times in milliseconds.
type Seen struct {
	Done    int                `json:"done"`
	Seconds float64            `json:"seconds"`
	Bytes   int64              `json:"bytes"`
	Times   map[string]float64 `json:"times"`
	// Errors by code, and how long the refused ones took.
	Errors     map[string]int     `json:"errors"`
	ErrorTimes map[string]float64 `json:"error_times"`
	// Late is how much later than due operations began, with a rate.
	Late map[string]float64 `json:"late"`
	// CPU seconds of this process.
	CPU float64 `json:"cpu_seconds"`
	// Dropped operations were due, but more than Plan.Outstanding were under way.
	Dropped int64 `json:"dropped"`
}

// Operation makes the calls of one operation. It returns how many bytes were answered, and a code for failure.
type Operation func(number int) (int, string)

type record struct {
	ended, took, late time.Duration
	bytes             int
	code              string
}

func run(plan Plan, operation Operation) Seen {
	warm, length := seconds(plan.Warm), seconds(plan.Seconds)
	started := time.Now()
	var stop atomic.Bool
	finished := make(chan []record)
	var dropped, ended atomic.Int64
	counted := func(number int) (int, string) {
		bytes, code := operation(number)
		if code == "" {
			ended.Add(1)
		}
		return bytes, code
	}
	if plan.Rate > 0 {
		go openLoop(plan, counted, started, &stop, finished, &dropped)
	} else {
		go closedLoop(plan, counted, started, &stop, finished)
	}
	time.Sleep(time.Until(started.Add(warm)))
	fmt.Println("begin")
	from, before := time.Since(started), cpu()
	until := ended.Load() + plan.Least
	time.Sleep(length)
	for last := time.Now().Add(seconds(plan.Deadline)); ended.Load() < until && time.Now().Before(last); {
		time.Sleep(10 * time.Millisecond)
	}
	to, after := time.Since(started), cpu()
	fmt.Println("end")
	stop.Store(true)
	seen := summary(<-finished, from, to)
	seen.CPU = (after - before).Seconds()
	seen.Dropped = dropped.Load()
	return seen
}

// closedLoop keeps so many operations under way.
func closedLoop(plan Plan, operation Operation, started time.Time, stop *atomic.Bool, finished chan []record) {
	var workers sync.WaitGroup
	all := make([][]record, plan.Outstanding)
	for worker := range plan.Outstanding {
		workers.Go(func() {
			for number := worker; !stop.Load(); number += plan.Outstanding {
				begun := time.Now()
				bytes, code := operation(number)
				all[worker] = append(all[worker], record{time.Since(started), time.Since(begun), 0, bytes, code})
			}
		})
	}
	workers.Wait()
	var together []record
	for _, records := range all {
		together = append(together, records...)
	}
	finished <- together
}

// openLoop sends at a rate. A time counts from when the operation was due: a server that is late cannot hide it.
func openLoop(
	plan Plan, operation Operation, started time.Time, stop *atomic.Bool, finished chan []record, dropped *atomic.Int64,
) {
	var underWay sync.WaitGroup
	var lock sync.Mutex
	var all []record
	places := make(chan struct{}, plan.Outstanding)
	for number := 0; !stop.Load(); number++ {
		due := started.Add(seconds(float64(number) / plan.Rate))
		time.Sleep(time.Until(due))
		select {
		case places <- struct{}{}:
		default:
			dropped.Add(1)
			continue
		}
		underWay.Go(func() {
			late := time.Since(due)
			bytes, code := operation(number)
			lock.Lock()
			all = append(all, record{time.Since(started), time.Since(due), late, bytes, code})
			lock.Unlock()
			<-places
		})
	}
	underWay.Wait()
	finished <- all
}

func summary(records []record, from, to time.Duration) Seen {
	seen := Seen{Errors: map[string]int{}, Seconds: (to - from).Seconds()}
	var times, refused, late []time.Duration
	for _, one := range records {
		if one.ended < from || one.ended > to {
			continue
		}
		late = append(late, one.late)
		if one.code != "" {
			seen.Errors[one.code]++
			refused = append(refused, one.took-one.late)
			continue
		}
		seen.Done++
		seen.Bytes += int64(one.bytes)
		times = append(times, one.took)
	}
	seen.Times, seen.ErrorTimes, seen.Late = percentiles(times), percentiles(refused), percentiles(late)
	return seen
}

func percentiles(times []time.Duration) map[string]float64 {
	sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
	found := map[string]float64{}
	for name, part := range map[string]float64{"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1} {
		if len(times) > 0 {
			found[name] = times[min(len(times)-1, int(float64(len(times))*part))].Seconds() * 1e3
		}
	}
	return found
}

func seconds(number float64) time.Duration {
	return time.Duration(number * float64(time.Second))
}
