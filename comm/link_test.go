package comm

import (
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/pprun/pprun/comm/frame"
)

// A sinkConn takes what is written and brings nothing until it is closed.
type sinkConn struct{ closed chan struct{} }

func (c sinkConn) Read([]byte) (int, error)    { <-c.closed; return 0, io.EOF }
func (c sinkConn) Write(b []byte) (int, error) { return len(b), nil }
func (c sinkConn) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}

// TestCloseWhileFlushing closes a link while another goroutine writes to it: the writer goroutine is woken for the end
// while it has nothing to do, and must be woken again when the other is done.
func TestCloseWhileFlushing(t *testing.T) {
	for _, c := range []struct {
		name  string
		takes int // bytes that the connection takes at once
	}{{"all", 1 << 10}, {"some", 3}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLink(sinkConn{make(chan struct{})}, &upLimits)
				goOn, closed := make(chan struct{}), false
				l.try = func(b []byte) (int, error) {
					<-goOn
					return min(len(b), c.takes), nil
				}
				l.start()
				l.send(frame.Header{Kind: kindBye}, nil)
				go l.flush()
				synctest.Wait() // until it writes
				go func() {
					l.close()
					closed = true
				}()
				synctest.Wait() // until the writer goroutine has been woken and sleeps again
				close(goOn)
				synctest.Wait()
				if !closed {
					t.Fatal("close does not return")
				}
			})
		})
	}
}

// TestNothingOvertakesNews sends news of the members that are too long to be copied, and then something of a rank that they
// are the first to tell of.
func TestNothingOvertakesNews(t *testing.T) {
	near, far := net.Pipe()
	l := newLink(near, &upLimits)
	l.send(frame.Header{Kind: kindMembers}, make([]byte, lentLen+1))
	l.send(frame.Header{Kind: kindMessage, Src: 1}, nil)
	l.start()
	l.flush()
	r := frame.NewReader(far, &downLimits)
	for _, want := range []frame.Kind{kindMembers, kindMessage} {
		if h, _, err := r.Next(); err != nil || h.Kind != want {
			t.Errorf("%s comes, want %s: %v", kindNames[h.Kind], kindNames[want], err)
		}
	}
	l.close()
}
