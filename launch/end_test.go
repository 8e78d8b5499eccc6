package launch

import (
	"context"
	"net"
	"os"
	"testing"
	"time"
)

// hung is a connection whose Close does not return before the test ends.
type hung struct {
	net.Conn
	over <-chan struct{}
}

func (h hung) Close() error { <-h.over; return nil }

// Nothing of ours that does not end keeps pprun from leaving when it was told to.
func TestLeavesWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	over := make(chan struct{})
	defer close(over)
	j := newJob(context.Background(), Config{Stdout: null, Stderr: null})
	j.interrupted = enough
	j.condemn(&verdict{status: StatusFailed})
	b, err := newBell()
	if err != nil {
		t.Fatal(err)
	}
	j.stdin = &input{source: &readAhead{null, b}, bell: b, ended: make(chan struct{})}
	j.begun.Go(func() { <-over })
	j.events <- event{&node{}, arrived{conn: hung{over: over}}}
	ended := make(chan struct{})
	go func() { j.end(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not leave")
	}
}
