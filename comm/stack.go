package comm

import (
	"runtime"
	"strings"
)

// Names of functions below which a goroutine runs a task, or a function given to Then.
const (
	taskFrame     = "github.com/pprun/pprun/comm.(*running).call"
	callbackFrame = "github.com/pprun/pprun/comm.(*series).run"
)

// within says whether this goroutine was called through one of some functions. It is for methods that have no context to
// tell them so, are rare, and would wait for their caller for ever.
func within(names ...string) bool {
	pcs := make([]uintptr, 1024)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		f, more := frames.Next()
		for _, name := range names {
			if strings.HasPrefix(f.Function, name) {
				return true
			}
		}
		if !more {
			return false
		}
	}
}
