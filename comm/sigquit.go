package comm

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/pprun/pprun/comm/place"
)

// Under pprun, and in a job that the program has launched itself, SIGQUIT does not end a program that links this package:
// it has each rank print what it does and its goroutines. The launcher passes the signal on. Elsewhere it does what it
// does to any Go program.

// explainer says what this process does.
var explainer atomic.Pointer[func() string]

func init() {
	if os.Getenv(place.EnvAgent) == "" {
		return
	}
	explainBy(func() string { return "rank " + os.Getenv("PPRUN_RANK") + " has not called Init or Main" })
	catchQuits()
}

// catchQuits takes the signal, as long as the process lives: it would end it.
func catchQuits() {
	quits := make(chan os.Signal, 1)
	signal.Notify(quits, syscall.SIGQUIT)
	go explainQuits(quits)
}

// explainBy sets who is asked on SIGQUIT.
func explainBy(f func() string) { explainer.Store(&f) }

func explainQuits(quits <-chan os.Signal) {
	for range quits {
		fmt.Fprintf(os.Stderr, "pprun: on SIGQUIT:\n%s\n%s\n", (*explainer.Load())(), goroutines())
	}
}

// maxStacks bounds what is printed of the goroutines.
const maxStacks = 4 << 20

func goroutines() []byte {
	for size := 64 << 10; ; size *= 2 {
		b := make([]byte, size)
		if n := runtime.Stack(b, true); n < size || size >= maxStacks {
			return b[:n]
		}
	}
}
