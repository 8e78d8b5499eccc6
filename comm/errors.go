package comm

import (
	"errors"
	"fmt"
	"strings"
)

// TaskError says that a function ran and failed: it returned an error or panicked.
type TaskError struct {
	Func    string // name it is registered under
	ID      uint64 // of the task, among those of the rank that submitted it
	Rank    int    // where it ran
	Node    string // the host of that rank
	Attempt int    // 0 for the first
	Panic   bool   // it panicked
	Stack   []byte // of the panic, as runtime/debug.Stack prints it, be it that of a task the function waited for
	Err     error  // what it returned: the text, and what it is of what RegisterError and RegisterErrorType know
}

// Error leaves the stack out: Main prints it after the error.
func (e *TaskError) Error() string {
	panics := ""
	if e.Panic {
		panics = "panic: "
	}
	return prefix(fmt.Sprintf("%s on rank %d (%s): %s%v", e.Func, e.Rank, e.Node, panics, e.Err))
}

// Unwrap returns Err.
func (e *TaskError) Unwrap() error { return e.Err }

// LostError says that a rank was lost. A task that was on it may have run, fully or partly. How its process ended is
// known to pprun alone: Exit, Signal, OOM and Stderr are zero where a program is not started by pprun, where a message is
// concerned and not a task, and where the word has not come within two seconds. Below a TaskError it is what the function
// returned: another task, which it waited for, had it.
type LostError struct {
	Rank   int    // -1 where the job as a whole is lost
	Node   string // its host
	Reason string // what pprun, the hub or the rank itself says
	Exit   int    // exit status, -1 where a signal or the loss of its node ended it
	Signal string // that killed it, as SIGKILL
	OOM    bool   // killed for want of memory
	Stderr []byte // the last lines it wrote there, at most 4 KiB

	Attempts []LostRun // of a task that has lost as many ranks as it may (see MaxLost): all of them
}

// A LostRun is a run of a task that ended with the loss of its rank.
type LostRun struct {
	Rank   int
	Node   string // its host
	Reason string // why it was lost
}

func (e *LostError) Error() string {
	if e.Rank < 0 {
		return "comm: the job is lost: " + e.Reason
	}
	text := fmt.Sprintf("comm: rank %d (%s) is lost: %s", e.Rank, e.Node, e.Reason)
	if n := len(e.Attempts) - 1; n > 0 {
		text += "; before it the task has lost"
		for i, a := range e.Attempts[:n] {
			if i > 0 {
				text += ","
			}
			text += fmt.Sprintf(" rank %d (%s): %s", a.Rank, a.Node, a.Reason)
		}
	}
	return text
}

// NoRetry marks an error that a function returns as one that running it again would not mend: Retries does not apply.
// The error keeps its text and its identity. NoRetry(nil) is nil.
func NoRetry(err error) error {
	if err == nil {
		return nil
	}
	return &noRetry{err}
}

type noRetry struct{ error }

func (e *noRetry) Unwrap() error { return e.error }

// failure is the status of a task whose function returned err.
func failure(err error) (s status) {
	defer func() {
		if recover() != nil { // in a method of the user's error
			s = statusError
		}
	}()
	if _, ok := errors.AsType[*noRetry](err); ok {
		return statusNoRetry
	}
	return statusError
}

// ErrClosed is the error of calls on a Comm that is closed.
var ErrClosed = errors.New("comm: closed")

// errorf is fmt.Errorf for errors that users see.
func errorf(format string, args ...any) error { return &prefixed{fmt.Errorf(format, args...)} }

type prefixed struct{ error }

func (e *prefixed) Error() string { return prefix(e.error.Error()) }
func (e *prefixed) Unwrap() error { return e.error }

// prefix puts the name of the package before an error's text, and takes it off the errors that the text quotes.
func prefix(text string) string {
	return "comm: " + strings.ReplaceAll(strings.TrimPrefix(text, "comm: "), ": comm: ", ": ")
}
