package comm_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/frame"
)

func init() {
	programs["crowd"] = func() {
		if err := comm.Crowd(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// BenchmarkIdleLinks is how much of a processor the hub takes for links on which nothing is said but heartbeats: 4,000, or
// as many as IDLE_LINKS says, to ranks that are all in another process. One iteration lasts ten seconds.
//
//	go test -run '^$' -bench IdleLinks -benchtime 1x ./comm
//
// This process opens two files for each.
func BenchmarkIdleLinks(b *testing.B) {
	links, err := strconv.Atoi(os.Getenv("IDLE_LINKS"))
	if err != nil {
		links = 4000
	}
	for _, network := range []string{"unix", "tcp"} {
		b.Run(network, func(b *testing.B) {
			hold(b, links, network)
			runtime.GC()                // of what joining has left
			time.Sleep(5 * time.Second) // for its last work to end
			before := cpuTime(b)
			b.ResetTimer()
			for range b.N {
				time.Sleep(10 * time.Second)
			}
			b.StopTimer()
			b.ReportMetric(100*float64(cpuTime(b)-before)/float64(b.Elapsed()), "%cpu")
		})
	}
}

// hold makes this process rank 0 of a job that is one process more.
func hold(b *testing.B, links int, network string) {
	a := newAgent(b, links+1, network)
	for i := range a.places {
		a.places[i].Heartbeat = frame.Timeout
	}
	crowd := a.start(1, "crowd")
	b.Cleanup(func() {
		if code := crowd.exit(b); code != 0 {
			b.Errorf("the others: exit status %d, %.1000s", code, &crowd.err)
		}
	})
	for _, v := range a.environ(0) {
		name, value, _ := strings.Cut(v, "=")
		b.Setenv(name, value)
	}
	c, err := comm.Host(b.Context())
	if err != nil {
		b.Fatalf("%v: %.1000s", err, &crowd.err)
	}
	b.Cleanup(func() { c.Close() })
}

// cpuTime is what this process has had of the processors.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
