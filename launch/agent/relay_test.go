//go:build linux

package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// relayed is an agent of a rank and that of rank 0, with a launcher between them that passes on all frames.
type relayed struct {
	t       *testing.T
	rank    *agent // node 1
	zero    *agent // node 0
	hub     *net.UnixListener
	link    *place.Link // of the rank to its agent
	toRank  *Conn       // the launcher's ends
	toZero  *Conn
	workers sync.WaitGroup
}

// relayPair makes them, with a hub that serves each stream.
func relayPair(t *testing.T, size int, serve func(net.Conn)) *relayed {
	r := &relayed{t: t}
	dir, err := os.MkdirTemp("", "pp")
	if err != nil {
		t.Fatal(err)
	}
	hubPath := filepath.Join(dir, "relay")
	if r.hub, err = net.ListenUnix("unix", &net.UnixAddr{Name: hubPath, Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	r.rank, r.toRank = relayAgent(1, size)
	r.zero, r.toZero = relayAgent(0, size)
	r.zero.hub.relayPath = hubPath
	r.pass(r.toRank, r.toZero)
	r.pass(r.toZero, r.toRank)
	r.read(r.rank)
	r.read(r.zero)
	r.workers.Go(func() {
		for {
			c, err := r.hub.Accept()
			if err != nil {
				return
			}
			r.workers.Go(func() { serve(c); c.Close() })
		}
	})
	seats, err := place.Listen(filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	r.workers.Go(func() {
		for {
			c, err := seats.AcceptUnix()
			if err != nil {
				return
			}
			r.workers.Go(func() { r.seat(c) })
		}
	})
	t.Setenv(place.EnvAgent, filepath.Join(dir, "agent"))
	t.Setenv(place.EnvRank, "1")
	t.Setenv(place.EnvSize, strconv.Itoa(size))
	if r.link, err = place.Take(t.Context(), place.Serve); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.link.Close()
		r.hub.Close()
		seats.Close()
		for _, a := range []*agent{r.rank, r.zero} { // in which every stream has to end
			a.die()
			a.relays.Abandon()
			a.relays.Wait()
			a.conn.Close()
		}
		r.toRank.Close()
		r.toZero.Close()
		r.workers.Wait()
		os.RemoveAll(dir)
	})
	return r
}

func relayAgent(node, size int) (*agent, *Conn) {
	ours, theirs := net.Pipe()
	a := &agent{conn: NewConn(ours), host: "node" + strconv.Itoa(node), started: make(chan struct{})}
	a.life, a.die = context.WithCancel(context.Background())
	a.relays, a.trunk = newRelays(a.conn), newTrunk()
	a.relays.Begin(uint32(node), size)
	close(a.started)
	return a, NewConn(theirs)
}

// pass is the launcher's part.
func (r *relayed) pass(from, to *Conn) {
	r.workers.Go(func() {
		for {
			h, payload, err := from.Next()
			if err != nil || to.Send(h, payload) != nil {
				return
			}
		}
	})
}

func (r *relayed) read(a *agent) {
	r.workers.Go(func() {
		for {
			h, payload, err := a.conn.Next()
			if err != nil {
				return
			}
			if err := a.handle(h, payload); err != nil {
				r.t.Error(err)
			}
		}
	})
}

func (r *relayed) seat(c *net.UnixConn) {
	k, err := place.Accept(c)
	switch {
	case err != nil:
		r.t.Error(err)
	case k.Ask.Relay:
		r.rank.relay(k, 0)
	default:
		if err := k.Give(place.Place{Size: 2, Rank: 1}, nil); err != nil {
			r.t.Error(err)
		}
		k.Wait(place.News{})
	}
}

// open opens a stream.
func (r *relayed) open() net.Conn {
	r.t.Helper()
	c, err := r.link.Relay(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// idle waits until no stream is left.
func (r *relayed) idle() {
	r.t.Helper()
	for _, a := range []*agent{r.rank, r.zero} {
		until(r.t, "streams to end on "+a.host, func() bool { return a.relays.Len() == 0 })
	}
}

func echo(c net.Conn) { io.Copy(c, c) }

// Several streams carry much at once, both ways, and lose nothing.
func TestRelayCarries(t *testing.T) {
	const streams, size = 4, 3 << 20
	r := relayPair(t, 100, echo)
	var all sync.WaitGroup
	for i := range streams {
		c := r.open()
		all.Go(func() {
			sent, got := sha256.New(), sha256.New()
			var sending sync.WaitGroup
			sending.Go(func() {
				in := io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size)
				if _, err := io.Copy(c, io.TeeReader(in, sent)); err != nil {
					t.Error(err)
				}
			})
			if _, err := io.CopyN(got, c, size); err != nil {
				t.Error(err)
			}
			sending.Wait()
			if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
				t.Error("what came back is not what was sent")
			}
			c.Close()
		})
	}
	all.Wait()
	r.idle()
}

// What the hub has said before it hung up arrives.
func TestRelayEndsAfterTheLastByte(t *testing.T) {
	const size = 1 << 20
	r := relayPair(t, 2, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 1))
		c.Write(make([]byte, size))
	})
	c := r.open()
	c.Write([]byte("x")) // the rank speaks first
	b, err := io.ReadAll(c)
	if err != nil || len(b) != size {
		t.Errorf("%d bytes, %v, want %d", len(b), err, size)
	}
	r.idle()
}

func TestRelayWithoutHub(t *testing.T) {
	r := relayPair(t, 2, echo)
	r.hub.Close()
	for range 2 {
		_, err := r.link.Relay(t.Context())
		const want = "place: the agent refuses rank 1: no relay: rank 0 is gone: "
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s...", err, want)
		}
	}
	r.idle()
}

// The end of either agent, or of the rank, ends the stream at the other end.
func TestRelayEnds(t *testing.T) {
	for name, end := range map[string]func(*relayed, net.Conn){
		"rank":        func(r *relayed, c net.Conn) { c.Close() },
		"its agent":   func(r *relayed, c net.Conn) { r.rank.relays.Abandon() },
		"other agent": func(r *relayed, c net.Conn) { r.zero.relays.Abandon() },
		"network": func(r *relayed, c net.Conn) {
			r.toRank.Send(frame.Header{Kind: KindRelayClose, Src: 0, Dst: 1}, nil)
			r.toZero.Send(frame.Header{Kind: KindRelayClose, Src: 1, Dst: 0}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := relayPair(t, 2, echo)
			c := r.open()
			c.Write([]byte("x"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			end(r, c)
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("%d more bytes", n)
			}
			r.idle()
		})
	}
}

// Frames that make no sense, as an agent gone wrong might send them, end at most the stream that they name.
func TestRelayNonsense(t *testing.T) {
	r := relayPair(t, 2, echo)
	c := r.open()
	from := func(kind frame.Kind, id uint64, payload string) {
		if err := r.toRank.Send(frame.Header{Kind: kind, Src: 0, Dst: 1, ID: id}, []byte(payload)); err != nil {
			t.Error(err)
		}
	}
	from(KindRelayBytes, 77, "nobody's")
	from(KindRelayCredit, 77, "1234")
	from(KindRelayClose, 77, "")
	from(KindRelayCredit, 1, "12")
	from(KindRelayCredit, 1, "\xff\xff\xff\xff")
	from(KindRelayCredit, 1, "\xff\xff\xff\xff")
	from(KindRelayOpen, 78, "") // there is no hub
	fmt.Fprint(c, "hello")
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	const window = 512 << 10
	for range window/frame.StreamLen + 1 { // nobody reads c
		from(KindRelayBytes, 1, strings.Repeat("x", frame.StreamLen))
	}
	for range 2 * window / frame.StreamLen {
		from(KindRelayBytes, 1, strings.Repeat("x", frame.StreamLen))
	}
	n, _ := io.Copy(io.Discard, c)
	if n > window+1<<20 { // what the socket holds beside
		t.Errorf("%d bytes came through, beyond any credit", n)
	}
	r.idle()
}
