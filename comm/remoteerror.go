package comm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"sync"
	"unsafe"
)

// knownErrors are those that keep their identity from rank to rank.
var knownErrors = struct {
	mu     sync.RWMutex
	byText map[string]error
	types  map[string]errorType // by the types' names
}{byText: map[string]error{}, types: map[string]errorType{}}

// An errorType is a type of errors that travel as values.
type errorType struct {
	typ    reflect.Type
	encode func(err error) ([]byte, bool) // of the first that errors.As finds in err
	decode func(b []byte) (error, bool)
}

func init() {
	RegisterError(context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist, fs.ErrExist,
		fs.ErrPermission, fs.ErrInvalid, os.ErrDeadlineExceeded, errors.ErrUnsupported, ErrClosed, ErrReleased, ErrDecodeBudget)
	RegisterErrorType[*LostError]()
}

// RegisterError lets errors keep their identity from rank to rank: errors.Is finds them in the error of a task that ran
// elsewhere. Call it in an init function, in all ranks alike. The common errors of context, io, io/fs and os are
// registered already. It panics where another error of the same text is registered.
func RegisterError(errs ...error) {
	knownErrors.mu.Lock()
	defer knownErrors.mu.Unlock()
	for _, err := range errs {
		if old := knownErrors.byText[err.Error()]; old != nil && old != err {
			panic(fmt.Sprintf("comm: RegisterError: two errors read %q", err.Error()))
		}
		knownErrors.byText[err.Error()] = err
	}
}

// RegisterErrorType lets errors of type E keep their type and value from rank to rank: errors.As finds in the error of a
// task that ran elsewhere what it would have found there. Call it in an init function, in all ranks alike:
//
//	func init() { comm.RegisterErrorType[*ParseError]() }
//
// A value travels as an argument would: its exported fields. A field of type error cannot: give it the tag `json:"-"`,
// and register what it holds, which is found beside. A value of more than 64 KiB, or one whose type is not registered
// where it arrives, is only part of the text. *LostError is registered already. RegisterErrorType panics, naming file and
// line, on a type that cannot travel.
func RegisterErrorType[E error]() {
	typ := reflect.TypeFor[E]()
	c, err := newCodec(typ)
	if err != nil {
		panic(fmt.Sprintf("comm: RegisterErrorType[%v] at %s: %v", typ, caller(1), err))
	}
	t := errorType{typ: typ}
	t.encode = func(err error) ([]byte, bool) {
		e, ok := errors.AsType[E](err)
		if !ok || isNil(e) {
			return nil, false
		}
		b, err := c.append(nil, unsafe.Pointer(&e))
		return b, err == nil && len(b) <= maxErrorPart
	}
	t.decode = func(b []byte) (error, bool) {
		var e E
		err := c.decode(b, unsafe.Pointer(&e))
		return e, err == nil && !isNil(e)
	}
	knownErrors.mu.Lock()
	defer knownErrors.mu.Unlock()
	name := typeName(typ)
	if old, ok := knownErrors.types[name]; ok && old.typ != typ {
		panic(fmt.Sprintf("comm: RegisterErrorType[%v] at %s: another type of that name is registered", typ, caller(1)))
	}
	knownErrors.types[name] = t
}

// isNil says whether an error is a nil pointer, whose methods need not work.
func isNil(err error) bool {
	v := reflect.ValueOf(err)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// typeName is what ranks call a type.
func typeName(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return "*" + typeName(t.Elem())
	case t.Name() == "":
		return t.String()
	}
	return t.PkgPath() + "." + t.Name()
}

// wireError is how an error travels.
type wireError struct {
	Text  string
	Is    []string          `cbor:",omitempty"` // texts of the registered errors it is
	As    map[string][]byte `cbor:",omitempty"` // values of registered types, by the types' names
	Stack []byte            `cbor:",omitempty"`
}

// maxErrorPart bounds what of an error's text, of each value, and of a stack travels.
const maxErrorPart = 64 << 10

func encodeError(err error, stack []byte) []byte {
	if stack == nil {
		stack = stackOf(err)
	}
	w := wireError{Text: textOf(err), Stack: stack[:min(len(stack), maxErrorPart)]}
	w.Text = w.Text[:min(len(w.Text), maxErrorPart)]
	knownErrors.mu.RLock()
	for text, e := range knownErrors.byText {
		if isError(err, e) {
			w.Is = append(w.Is, text)
		}
	}
	for name, t := range knownErrors.types {
		if b, ok := t.valueIn(err); ok {
			if w.As == nil {
				w.As = make(map[string][]byte)
			}
			w.As[name] = b
		}
	}
	knownErrors.mu.RUnlock()
	b, err := cborEnc.Marshal(w)
	if err != nil {
		panic(err) // strings and bytes always encode
	}
	return b
}

// textOf, isError, valueIn and stackOf call methods of the user's error, which may panic.
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

func (t errorType) valueIn(err error) (b []byte, ok bool) {
	defer func() { _ = recover() }()
	return t.encode(err)
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
	text  string
	known func() []error // what it is, decoded when that is asked first
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.known() }

func decodeError(b []byte) (stack []byte, err error) {
	var w wireError
	if err := cborDec.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("an error that cannot be decoded: %w", err)
	}
	return w.Stack, &remoteError{w.Text, sync.OnceValue(w.known)}
}

// known returns the registered errors, and values of registered types, that the error is.
func (w *wireError) known() (errs []error) {
	knownErrors.mu.RLock()
	defer knownErrors.mu.RUnlock()
	for _, text := range w.Is {
		if e := knownErrors.byText[text]; e != nil {
			errs = append(errs, e)
		}
	}
	for name, b := range w.As {
		if t, ok := knownErrors.types[name]; ok {
			if e, ok := t.decode(b); ok {
				errs = append(errs, e)
			}
		}
	}
	return errs
}
