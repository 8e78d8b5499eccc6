package comm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// Whatever bit of what one end of a link has sent is another when it arrives, the other end gets an error and none of it.
func TestFlippedBits(t *testing.T) {
	ca := newAuthority(t, "test")
	hub, rank := ca.issue(uri("hub")), ca.issue(uri("node/1/ranks/1"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sent := frame.Append(nil, frame.Header{Kind: 1, Dst: 1}, []byte("six times seven is 42"))
	const unharmed = -1
	got, n, err := flip(t, l, hub, rank, sent, unharmed)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("got %q, %v", got, err)
	}
	for k := range 8 * n {
		if got, _, err := flip(t, l, hub, rank, sent, k); err == nil || len(got) > 0 {
			t.Errorf("bit %d of %d: got %q, %v", k, 8*n, got, err)
		}
	}
}

// flip sends something over a link, of which bit k arrives wrong. It returns what came, and how many bytes travelled.
func flip(t *testing.T, l net.Listener, hub, rank *place.Identity, sent []byte, k int) (got []byte, travelled int, err error) {
	t.Helper()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	line := &flipping{Conn: near}
	from, err := rank.Client(line, "test", place.ProtoRank)
	if err != nil {
		t.Fatal(err)
	}
	server, err := hub.Server("test")
	if err != nil {
		t.Fatal(err)
	}
	to, _ := server(far)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer to.Close()
		got, err = io.ReadAll(to)
	})
	if err := from.Handshake(); err != nil {
		t.Fatal(err)
	}
	line.on, line.at = true, k
	from.Write(sent)
	line.on = false
	from.Close()
	reader.Wait()
	return got, line.passed, err
}

// flipping is a connection that turns one bit of what is written.
type flipping struct {
	net.Conn
	on     bool // from now on bytes count
	at     int  // the bit
	passed int  // bytes so far
}

func (f *flipping) Write(b []byte) (int, error) {
	if !f.on {
		return f.Conn.Write(b)
	}
	b = bytes.Clone(b)
	if i := f.at/8 - f.passed; f.at >= 0 && i >= 0 && i < len(b) {
		b[i] ^= 1 << (f.at % 8)
	}
	f.passed += len(b)
	return f.Conn.Write(b)
}

func init() {
	programs["echoes"] = func() {
		ctx := context.Background()
		c, err := comm.Init(ctx)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		there := echo.With(comm.OnRanks(1))
		for i := 0; c.Rank() == 0 && err == nil; i++ { // until its link breaks
			b, got := bytes.Repeat([]byte{byte(i)}, 1000), []byte(nil)
			if got, err = there.Submit(ctx, b).Get(ctx); err == nil && !bytes.Equal(got, b) {
				fmt.Println("bad data")
			}
		}
		fmt.Println(err)
		fmt.Println(c.Close())
		os.Exit(1)
	}
}

// A bit that is turned between two hosts ends the job, the rank at the other end of the link is named, and nobody has got
// wrong data.
func TestFlippedBitOnTheWay(t *testing.T) {
	for i, c := range []struct{ up, down int }{{up: 150_001}, {up: 150_777}, {down: 150_001}, {down: 150_777}} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			a := newAgent(t, 2, "tcp")
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			hub := a.places[1].Hub[0].Addr
			a.places[1].Hub[0].Addr = l.Addr().String()
			var work sync.WaitGroup
			defer work.Wait()
			work.Go(func() {
				rank, err := l.Accept()
				if err != nil {
					return
				}
				to, err := net.Dial("tcp", hub)
				if err != nil {
					t.Error(err)
					return
				}
				work.Go(func() { io.Copy(&flipping{Conn: rank, on: true, at: 8*c.down - 1}, to); rank.Close(); to.Close() })
				io.Copy(&flipping{Conn: to, on: true, at: 8*c.up - 1}, rank)
				rank.Close()
				to.Close()
			})
			zero, one := a.start(0, "echoes"), a.start(1, "echoes")
			if code := zero.exit(t); code != 1 || !strings.Contains(zero.out.String(), "comm: rank 1 (n1) is lost: its link broke: ") ||
				!strings.Contains(zero.out.String(), "bad record MAC") || strings.Contains(zero.out.String(), "bad data") {
				t.Errorf("rank 0: exit %d, %q %q", code, &zero.out, &zero.err)
			}
			one.exit(t)
			if strings.Contains(one.out.String(), "bad data") || !strings.Contains(one.out.String(), "rank 0 (n0) is lost") {
				t.Errorf("rank 1: %q %q", &one.out, &one.err)
			}
		})
	}
}
