package comm

import (
	"errors"
	"testing"
)

// TestTooLate brings a rank back once the job is over: it is told so, which is no refusal.
func TestTooLate(t *testing.T) {
	b, err := NewTestbed(t.Context(), 2, pipe)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- b.Comm(1).Close() }()
	if err := b.Comm(0).Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := b.Restart(1); !errors.Is(err, errOver) {
		t.Errorf("got %v", err)
	}
}
