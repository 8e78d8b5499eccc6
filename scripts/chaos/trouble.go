package main

import (
	"fmt"
	"runtime"
	"testing"
)

// trouble is what package labtest needs of a test, for a program and for a single round: it takes down what went wrong.
// Like a test it belongs to one goroutine.
type trouble struct {
	testing.TB // nil: the methods below are all that labtest calls
	errors     []string
	skipped    string
	cleanups   []func()
}

func (t *trouble) Helper() {}

func (t *trouble) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *trouble) Error(args ...any) { t.errors = append(t.errors, fmt.Sprint(args...)) }

func (t *trouble) Errorf(format string, args ...any) {
	t.errors = append(t.errors, fmt.Sprintf(format, args...))
}

func (t *trouble) Fatal(args ...any) {
	t.Error(args...)
	runtime.Goexit()
}

func (t *trouble) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

func (t *trouble) Skip(args ...any) {
	t.skipped = fmt.Sprint(args...)
	runtime.Goexit()
}

// watch runs f, which a Fatal or a Skip ends, and then what it left to clean up.
func (t *trouble) watch(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for i := len(t.cleanups) - 1; i >= 0; i-- {
				t.cleanups[i]()
			}
		}()
		f()
	}()
	<-done
}
