package main

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// statistics count what the processes of clients came to, by the clients' keys.
type statistics map[string]*count

type count struct {
	processes int           // that have ended
	time      time.Duration // that they ran
}

func (s statistics) add(key string, ran time.Duration) {
	if s[key] == nil {
		s[key] = &count{}
	}
	s[key].processes++
	s[key].time += ran
}

// table writes them as Parallel Python does. What it calls a job is a process here, and its server a client.
func (s statistics) table(elapsed time.Duration, active, cores int) []byte {
	all := 0
	for _, c := range s {
		all += c.processes
	}
	b := []byte("Job execution statistics:\n job count | % of all jobs | job time sum | time per job | job server\n")
	for _, key := range slices.Sorted(maps.Keys(s)) {
		c := s[key]
		share, sum := 100*float64(c.processes)/float64(all), c.time.Seconds()
		b = fmt.Appendf(b, "    %6d |        %6.2f |     %8.4f |  %11.6f | %s\n", c.processes, share, sum, sum/float64(c.processes), key)
	}
	return fmt.Appendf(b, "Time elapsed since server creation %v\n%d active tasks, %d cores\n", elapsed.Seconds(), active, cores)
}
