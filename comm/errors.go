package comm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
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
	Err     error  // what it returned: the text, and the identity of errors given to RegisterError
}

// Error leaves the stack out: Main prints it after the error.
func (e *TaskError) Error() string {
	panics := ""
	if e.Panic {
		panics = "panic: "
	}
	return fmt.Sprintf("comm: %s on rank %d (%s): %s%v", e.Func, e.Rank, e.Node, panics, e.Err)
}

// Unwrap returns Err.
func (e *TaskError) Unwrap() error { return e.Err }

// LostError says that a rank was lost. A task that was on it may have run, fully or partly. How its process ended is
// known to pprun alone: Exit, Signal, OOM and Stderr are zero where a program is not started by pprun, where a message is
// concerned and not a task, and where the word has not come within two seconds.
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

// sentinels are the errors that keep their identity from rank to rank, by text.
var sentinels struct {
	mu     sync.RWMutex
	byText map[string]error
}

func init() {
	RegisterError(context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist, fs.ErrExist,
		fs.ErrPermission, fs.ErrInvalid, os.ErrDeadlineExceeded, errors.ErrUnsupported, ErrClosed, ErrDecodeBudget)
}

// RegisterError lets errors keep their identity from rank to rank: errors.Is finds them in the error of a task that ran
// elsewhere. Call it in an init function, in all ranks alike. The common errors of context, io, io/fs and os are
// registered already. It panics where another error of the same text is registered.
func RegisterError(errs ...error) {
	sentinels.mu.Lock()
	defer sentinels.mu.Unlock()
	if sentinels.byText == nil {
		sentinels.byText = make(map[string]error)
	}
	for _, err := range errs {
		if old := sentinels.byText[err.Error()]; old != nil && old != err {
			panic(fmt.Sprintf("comm: RegisterError: two errors read %q", err.Error()))
		}
		sentinels.byText[err.Error()] = err
	}
}

// wireError is how an error travels.
type wireError struct {
	Text  string
	Is    []string `cbor:",omitempty"` // texts of the registered errors it is
	Stack []byte   `cbor:",omitempty"`
}

// maxErrorText bounds what of an error's text and of a stack travels.
const maxErrorText = 64 << 10

func encodeError(err error, stack []byte) []byte {
	if stack == nil {
		stack = stackOf(err)
	}
	w := wireError{Text: textOf(err), Stack: stack[:min(len(stack), maxErrorText)]}
	w.Text = w.Text[:min(len(w.Text), maxErrorText)]
	sentinels.mu.RLock()
	for text, s := range sentinels.byText {
		if isError(err, s) {
			w.Is = append(w.Is, text)
		}
	}
	sentinels.mu.RUnlock()
	b, err := cborEnc.Marshal(w)
	if err != nil {
		panic(err) // strings and bytes always encode
	}
	return b
}

// textOf, isError and stackOf call methods of the user's error, which may panic.
func textOf(err error) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("an error of type %T whose Error method panics: %v", err, p)
		}
	}()
	return err.Error()
}

func isError(err, target error) (is bool) {
	defer func() { _ = recover() }()
	return errors.Is(err, target)
}

// stackOf is the stack of a panic in a task that err is about, nil if there is none.
func stackOf(err error) (stack []byte) {
	defer func() { _ = recover() }()
	if e, ok := errors.AsType[*TaskError](err); ok {
		stack = e.Stack
	}
	return stack
}

// remoteError is an error that came from another rank.
type remoteError struct {
	text string
	is   []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.is }

func decodeError(b []byte) (stack []byte, err error) {
	var w wireError
	if err := cborDec.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("an error that cannot be decoded: %w", err)
	}
	e := &remoteError{text: w.Text}
	sentinels.mu.RLock()
	for _, text := range w.Is {
		if s := sentinels.byText[text]; s != nil {
			e.is = append(e.is, s)
		}
	}
	sentinels.mu.RUnlock()
	return w.Stack, e
}
