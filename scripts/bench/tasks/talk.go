package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"time"
)

// The four ways of calling a function n times, by the name they have between the benchmark and its peers.
const (
	single   = "single"   // each call after the end of the one before
	windowed = "windowed" // as many under way as the peer chooses, one call a message
	gathered = "gather"   // all submitted, then all fetched
	chunked  = "chunked"  // a thousand calls a message
)

// A way makes n calls. It returns how long each took if they came one after the other.
type way func(n int) ([]time.Duration, error)

// answer is a peer's part of the talk: each line of standard input asks for a way and a number of calls, each answer
// has the seconds they took and, in seconds too, the median and 99th percentile of the round trips. python/farm.py does
// the same.
func answer(ways map[string]way) error {
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var name string
		var n int
		if _, err := fmt.Sscan(in.Text(), &name, &n); err != nil {
			return fmt.Errorf("a question of %q: %w", in.Text(), err)
		}
		call, ok := ways[name]
		if !ok {
			fmt.Println("none")
			continue
		}
		start := time.Now()
		trips, err := call(n)
		if err != nil {
			return err
		}
		fmt.Print(time.Since(start).Seconds())
		if len(trips) > 0 {
			median, p99 := percentiles(trips)
			fmt.Print(" ", median.Seconds(), " ", p99.Seconds())
		}
		fmt.Println()
	}
	return in.Err()
}

func percentiles(trips []time.Duration) (median, p99 time.Duration) {
	slices.Sort(trips)
	return trips[len(trips)/2], trips[len(trips)*99/100]
}

// oneByOne makes calls after one another.
func oneByOne(call func(i int) error) way {
	return func(n int) ([]time.Duration, error) {
		trips := make([]time.Duration, n)
		for i := range trips {
			start := time.Now()
			if err := call(i); err != nil {
				return nil, err
			}
			trips[i] = time.Since(start)
		}
		return trips, nil
	}
}
