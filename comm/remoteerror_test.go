package comm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
)

func TestErrorTrip(t *testing.T) {
	stack, err := decodeError(encodeError(&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, []byte("stack")))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || err.Error() != "open x: file does not exist" || string(stack) != "stack" {
		t.Errorf("got %v, %q", err, stack)
	}
	outer := fmt.Errorf("outer: %w", &TaskError{Stack: []byte("inner"), Err: fs.ErrExist})
	if stack, _ := decodeError(encodeError(outer, nil)); string(stack) != "inner" {
		t.Errorf("the stack of an inner task: %q", stack)
	}
	if _, err := decodeError([]byte{0xff}); err == nil || !strings.Contains(err.Error(), "cannot be decoded") {
		t.Errorf("of nonsense: %v", err)
	}
	if _, err := decodeError(encodeError(rude{}, nil)); !strings.Contains(err.Error(), "comm.rude whose Error method panics: no") {
		t.Errorf("of a rude error: %v", err)
	}
}

type rude struct{}

func (rude) Error() string { panic("no") }

// Errors of several shapes, whose types are registered, and one whose type is not.
type (
	parseError struct {
		File string
		Line int
		Err  error `json:"-"`
	}
	code       int
	blank      struct{}
	unknown    struct{ Name string }
	unreadable struct{ Err error }
)

func (e *parseError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }
func (e *parseError) Unwrap() error { return e.Err }
func (e code) Error() string        { return fmt.Sprint("code ", int(e)) }
func (blank) Error() string         { return "blank" }
func (e *unknown) Error() string    { return e.Name }
func (e unreadable) Error() string  { return "unreadable" }

func init() {
	RegisterErrorType[*parseError]()
	RegisterErrorType[*parseError]()
	RegisterErrorType[code]()
	RegisterErrorType[blank]()
}

func TestErrorTypes(t *testing.T) {
	trip := func(err error) error {
		_, got := decodeError(encodeError(err, nil))
		if got.Error() != err.Error() {
			t.Errorf("%q became %q", err, got)
		}
		return got
	}
	inner := fmt.Errorf("read: %w", errors.Join(code(7), io.ErrUnexpectedEOF))
	err := trip(trip(fmt.Errorf("load: %w", &parseError{"a.txt", 3, inner}))) // by way of another rank
	e, ok := errors.AsType[*parseError](err)
	if !ok || e.File != "a.txt" || e.Line != 3 {
		t.Errorf("the error of a parser became %#v", e)
	}
	if again, _ := errors.AsType[*parseError](err); again != e {
		t.Error("it is another each time")
	}
	if n, ok := errors.AsType[code](err); !ok || n != 7 || !errors.Is(err, code(7)) || errors.Is(err, code(8)) {
		t.Errorf("code 7 below it became %v", n)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		t.Errorf("a sentinel beside it is lost: %v", err)
	}
	if _, ok := errors.AsType[blank](err); ok {
		t.Error("found an error that was not there")
	}
	if !errors.Is(trip(blank{}), blank{}) {
		t.Error("an error without fields is lost")
	}
	if lost, ok := errors.AsType[*LostError](trip(fmt.Errorf("below: %w", &LostError{Rank: 3, Node: "n", Reason: "r"}))); !ok || lost.Rank != 3 {
		t.Errorf("a loss below became %v", lost)
	}
	for _, err := range []error{
		&unknown{"x"},
		(*parseError)(nil),
		&parseError{File: strings.Repeat("x", maxErrorPart), Err: io.EOF},
	} {
		if b := encodeError(err, nil); len(b) > maxErrorPart+1000 {
			t.Errorf("a %T takes %d bytes", err, len(b))
		} else if _, err := decodeError(b); len(err.(*remoteError).Unwrap()) > 1 || errors.Is(err, fs.ErrExist) {
			t.Errorf("it became a %#v", err.(*remoteError).Unwrap())
		}
	}
}

func TestErrorPrefix(t *testing.T) {
	released := errorf("get a shared int: %w", ErrReleased)
	for _, c := range []struct {
		err  error
		want string
	}{
		{released, "comm: get a shared int: the shared value was released"},
		{errorf("%w", ErrClosed), "comm: closed"},
		{&TaskError{Func: "look", Node: "a", Err: released}, "comm: look on rank 0 (a): get a shared int: the shared value was released"},
		{&TaskError{Func: "look", Node: "a", Panic: true, Err: ErrClosed}, "comm: look on rank 0 (a): panic: closed"},
	} {
		if c.err.Error() != c.want {
			t.Errorf("%q, want %q", c.err, c.want)
		}
	}
	if !errors.Is(released, ErrReleased) {
		t.Error("an error lost what it wraps")
	}
}

func TestRegisterErrorTypeRefuses(t *testing.T) {
	refuses := func(register func(), want string) {
		t.Helper()
		defer func() {
			if p := fmt.Sprint(recover()); !strings.HasPrefix(p, want) || !strings.Contains(p, "remoteerror_test.go:") {
				t.Errorf("it says %q, want %q", p, want)
			}
		}()
		register()
	}
	refuses(func() { RegisterErrorType[unreadable]() }, "comm: RegisterErrorType[comm.unreadable] at ")
	refuses(func() { RegisterErrorType[error]() }, "comm: RegisterErrorType[error] at ")
}
