package frame

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/scripts/bounded"
)

// trunks are the two ends of a trunk. Each stream that the first opens is given to serve, and closed.
func trunks(t *testing.T, n int, serve func(net.Conn)) (opens, takes *Trunk) {
	a, b := net.Pipe()
	opens, takes = NewTrunk(a, n), NewTrunk(b, n)
	var work sync.WaitGroup
	work.Go(func() { opens.Run(nil) })
	work.Go(func() {
		takes.Run(func(s *Stream) {
			work.Go(func() { serve(s); s.Close() })
		})
	})
	t.Cleanup(func() {
		opens.Close(0)
		work.Wait()
		if n := takes.mux.Len(); n > 0 {
			t.Errorf("%d streams are left", n)
		}
	})
	return opens, takes
}

func echo(c net.Conn) { io.Copy(c, c) }

func open(t *testing.T, from *Trunk) *Stream {
	t.Helper()
	s, err := from.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func ask(t *testing.T, s net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(s, text); err != nil {
		t.Error(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(s, b); err != nil || string(b) != text {
		t.Errorf("%q, %v, want %q", b, err, text)
	}
}

// A stream that nobody reads holds no more than its window, and holds up no other.
func TestStreamIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first sync.Once
		release := make(chan struct{})
		var stalled *Stream
		opens, _ := trunks(t, 100, func(c net.Conn) {
			stall := false
			first.Do(func() { stall = true })
			if stall {
				stalled = c.(*Stream)
				<-release
			}
			echo(c)
		})
		s := open(t, opens)
		wrote := make(chan int)
		go func() {
			n, _ := s.Write(make([]byte, 1<<20))
			wrote <- n
		}()
		synctest.Wait()
		window := opens.mux.window
		stalled.mu.Lock()
		got := len(stalled.in)
		stalled.mu.Unlock()
		if got != window || window >= 1<<20 {
			t.Errorf("%d bytes wait, want the window of %d", got, window)
		}
		ask(t, open(t, opens), strings.Repeat("hello", 10_000))
		close(release)
		if n, err := io.CopyN(io.Discard, s, 1<<20); err != nil {
			t.Errorf("%d bytes came back: %v", n, err)
		}
		if n := <-wrote; n != 1<<20 {
			t.Errorf("%d bytes written", n)
		}
		stalled.mu.Lock()
		defer stalled.mu.Unlock()
		if c := cap(stalled.in); c > 4*window {
			t.Errorf("a window of %d takes %d bytes", window, c)
		}
	})
}

// What was written before the end arrives, whoever ends it.
func TestStreamEndsAfterTheLastByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opens, takes := trunks(t, 2, func(c net.Conn) { io.WriteString(c, "last words") })
		s := open(t, opens)
		if b, err := io.ReadAll(s); err != nil || string(b) != "last words" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("writing after the end: %v", err)
		}
		s.Close()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading after Close: %v", err)
		}
		s = open(t, opens)
		synctest.Wait()
		takes.Close(time.Second)
		if b, err := io.ReadAll(s); err != nil || string(b) != "last words" {
			t.Errorf("after the end of the trunk: %q, %v", b, err)
		}
		synctest.Wait()
		if _, err := opens.Open(t.Context()); err == nil {
			t.Error("a stream over a trunk that has ended")
		}
	})
}

func TestStreamDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opens, _ := trunks(t, 2, echo)
		s := open(t, opens)
		s.SetDeadline(time.Now().Add(time.Second))
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		s.SetDeadline(time.Time{})
		ask(t, s, "still there")
		s.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := s.Write(make([]byte, 4<<20)) // its echo is not read
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
			t.Errorf("write: %d bytes, %v", n, err)
		}
	})
}

func TestOpenIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		go io.Copy(io.Discard, b) // takes everything, and answers nothing
		trunk := NewTrunk(a, 1)
		var work sync.WaitGroup
		work.Go(func() { trunk.Run(nil) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := trunk.Open(ctx); err == nil || !strings.Contains(err.Error(), "deadline") {
			t.Errorf("got %v", err)
		}
		trunk.Close(0)
		work.Wait()
	})
}

// Frames that make no sense end at most the stream that they name.
func TestMuxNonsense(t *testing.T) {
	m := NewMux(10, func(Header, []byte) error { return nil })
	if s := m.Take(Header{Kind: 11, ID: 1}, []byte("nobody's")); s != nil {
		t.Error("a stream before Begin")
	}
	m.Begin(7, 1)
	s := m.Take(Header{Kind: 10, Src: 3, ID: 1}, nil)
	if s == nil || m.Take(Header{Kind: 12, Src: 3, ID: 1}, []byte("12")) != nil {
		t.Fatal("no stream, or two")
	}
	s.Accept()
	m.Take(Header{Kind: 12, Src: 3, ID: 1}, bytes.Repeat([]byte{0xff}, 4))
	m.Take(Header{Kind: 12, Src: 3, ID: 1}, bytes.Repeat([]byte{0xff}, 4))
	if s.credit != maxWindow {
		t.Errorf("credit %d", s.credit)
	}
	m.Take(Header{Kind: 13, Src: 4}, nil) // somebody else is lost
	for range maxWindow/StreamLen + 2 {
		m.Take(Header{Kind: 11, Src: 3, ID: 1}, make([]byte, StreamLen))
	}
	n, err := io.Copy(io.Discard, s)
	if n > maxWindow || err != nil || s.why != "more bytes than credit" {
		t.Errorf("%d bytes, %v, ended: %q", n, err, s.why)
	}
	s.Close()
	for range 3 {
		m.Take(Header{Kind: 10, Src: 3, ID: 2}, nil)
	}
	m.Abandon()
	if m.Take(Header{Kind: 10, Src: 3, ID: 5}, nil) != nil {
		t.Error("a stream after Abandon")
	}
}

func FuzzTrunk(f *testing.F) {
	limits := StreamLimits(Limits{}, trunkBase)
	frames := func(hs ...Header) (b []byte) {
		for _, h := range hs {
			h.Kind += trunkBase
			b = Append(b, h, make([]byte, max(0, min(8, limits[h.Kind]))))
		}
		return b
	}
	f.Add(frames(Header{ID: 1}, Header{Kind: streamBytes, ID: 1}, Header{Kind: streamClose, ID: 1}))
	f.Add(frames(Header{ID: 1}, Header{ID: 1}, Header{Kind: streamCredit, ID: 1}, Header{Kind: streamClose}))
	f.Fuzz(func(t *testing.T, wire []byte) {
		defer bounded.Memory(t)()
		a, b := net.Pipe()
		trunk := NewTrunk(b, 1)
		var work sync.WaitGroup
		work.Go(func() { a.Write(wire); a.Close() })
		work.Go(func() { io.Copy(io.Discard, a) })
		trunk.Run(func(s *Stream) {
			work.Go(func() { io.Copy(io.Discard, s); s.Close() })
		})
		work.Wait()
		if n := trunk.mux.Len(); n > 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}
