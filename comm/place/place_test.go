package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/pprun/pprun/comm/frame"
)

// socket listens where a short path is to be had and points PPRUN_AGENT at it.
func socket(t *testing.T, rank, size int) *net.UnixListener {
	dir, err := os.MkdirTemp("", "pp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "agent")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv(EnvAgent, path)
	t.Setenv(EnvRank, strconv.Itoa(rank))
	t.Setenv(EnvSize, strconv.Itoa(size))
	return l
}

// answer serves one asker.
func answer(t *testing.T, l *net.UnixListener, f func(*Asker)) <-chan bool {
	bye := make(chan bool, 1)
	go func() {
		defer close(bye)
		c, err := l.AcceptUnix()
		if err != nil {
			t.Error(err)
			return
		}
		a, err := Accept(c)
		if err != nil {
			return
		}
		f(a)
		bye <- a.Wait(News{})
	}()
	return bye
}

func TestTakeWithListener(t *testing.T) {
	l := socket(t, 0, 2)
	hub, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	want := Place{Job: "j", Size: 2, Nodes: []string{"a", "b"}, NodeOf: []int{0, 1}, Slots: []int{1, 1},
		Listeners: []string{"tcp"}, Hub: []Address{{"tcp", hub.Addr().String()}}, Client: &Identity{CA: []byte{1}, Time: 7}}
	bye := answer(t, l, func(a *Asker) {
		if a.Ask.Role != SPMD || a.Ask.PID != os.Getpid() {
			t.Errorf("asked %+v", a.Ask)
		}
		f, err := hub.(*net.TCPListener).File()
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if err := a.Give(want, []*os.File{f}); err != nil {
			t.Error(err)
		}
	})
	link, err := Take(context.Background(), SPMD)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(link.Place, want) {
		t.Errorf("got place %+v\nwant %+v", link.Place, want)
	}
	c, err := net.Dial("tcp", hub.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := link.Listeners[0].Accept(); err != nil {
		t.Errorf("accept on the passed listener: %v", err)
	}
	if err := link.Bye(); err != nil {
		t.Error(err)
	}
	if !<-bye {
		t.Error("the agent did not hear bye")
	}
}

func TestRefused(t *testing.T) {
	l := socket(t, 1, 2)
	answer(t, l, func(a *Asker) { a.Refuse("rank 1 is taken by process 7") })
	_, err := Take(context.Background(), Serve)
	if err == nil || !strings.Contains(err.Error(), "rank 1 is taken by process 7") {
		t.Errorf("got %v", err)
	}
}

func TestDeaths(t *testing.T) {
	l := socket(t, 0, 2)
	want := []Death{{Rank: 1, Reason: "killed", Exit: -1, Signal: "SIGKILL", OOM: true, Stderr: []byte("oops\n")}, {Rank: 1, Incarnation: 1, Final: true}}
	early := make(chan struct{})
	answer(t, l, func(a *Asker) {
		a.Give(Place{Size: 2}, nil)
		a.Tell(want[0])
		<-early
		a.Tell(want[1])
	})
	link, err := Take(context.Background(), SPMD)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan Death, 2)
	link.Hear(Told{Died: func(d Death) { got <- d }})
	for i, want := range want {
		if d := <-got; !reflect.DeepEqual(d, want) {
			t.Errorf("got %+v, want %+v", d, want)
		}
		if i == 0 {
			close(early)
		}
	}
	link.Close()
}

// A rank asks for a relay on a second connection, and tells on the first that it uses it.
func TestRelay(t *testing.T) {
	l := socket(t, 1, 2)
	why := make(chan string, 1)
	served := make(chan error, 2)
	go func() {
		c, _ := l.AcceptUnix()
		a, err := Accept(c)
		if err == nil {
			err = a.Give(Place{Size: 2, Rank: 1}, nil)
		}
		go a.Wait(News{Relayed: func(s string) { why <- s }, Orphan: func(s string) { why <- "orphan" + s }, Ran: func(r Ran) { why <- fmt.Sprint(r) }})
		served <- err
		c, _ = l.AcceptUnix()
		a, err = Accept(c)
		if err == nil && (!a.Ask.Relay || a.Ask.Rank != 1) {
			err = errors.New("this is no ask for a relay of rank 1")
		}
		if err == nil {
			conn, rerr := a.Relay()
			io.Copy(conn, conn)
			conn.Close()
			err = rerr
		}
		served <- err
	}()
	link, err := Take(context.Background(), Serve)
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	conn, err := link.Relay(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("hello"))
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hello" {
		t.Errorf("the relay returned %q, %v", b, err)
	}
	conn.Close()
	for range 2 {
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	if err := link.Relayed(strings.Repeat("x", 10<<10)); err != nil {
		t.Error(err)
	}
	if s := <-why; len(s) != 4<<10 {
		t.Errorf("the agent is told %d bytes", len(s))
	}
	if err := link.Orphan(""); err != nil {
		t.Error(err)
	}
	if s := <-why; s != "orphan" {
		t.Errorf("the agent is told %q", s)
	}
	if err := link.Ran(Ran{Rank: 3, Incarnation: 2, Tasks: []string{"f", "g"}}); err != nil {
		t.Error(err)
	}
	if s := <-why; s != "{3 2 [f g]}" {
		t.Errorf("the agent is told %q", s)
	}
}

func TestAgentGone(t *testing.T) {
	l := socket(t, 0, 1)
	bye := answer(t, l, func(a *Asker) {
		a.Give(Place{Size: 1}, nil)
		a.Close()
	})
	link, err := Take(context.Background(), SPMD)
	if err != nil {
		t.Fatal(err)
	}
	<-link.Lost()
	if <-bye {
		t.Error("the agent heard a bye that nobody said")
	}
}

func TestOtherVersionIsRefused(t *testing.T) {
	l := socket(t, 0, 1)
	done := answer(t, l, func(a *Asker) {})
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := writeCBOR(c.(*net.UnixConn), kindAsk, Ask{Version: Version + 1}); err != nil {
		t.Fatal(err)
	}
	h, text, err := frame.NewReader(c, &limits).Next()
	if err != nil || h.Kind != kindRefuse || !strings.Contains(string(text), fmt.Sprintf("protocol %d, this agent speaks %d", Version+1, Version)) {
		t.Errorf("got kind %d, %q, %v", h.Kind, text, err)
	}
	<-done
}

func TestFromEnviron(t *testing.T) {
	if _, err := Take(context.Background(), SPMD); os.Getenv(EnvAgent) == "" && !errors.Is(err, ErrNoAgent) {
		t.Errorf("without %s: %v", EnvAgent, err)
	}
	for _, c := range []struct{ rank, size, want string }{
		{"x", "2", `PPRUN_RANK="x"`},
		{"", "", `PPRUN_RANK="": want a number from 0 up`},
		{"0", "", `PPRUN_SIZE=""`},
		{"-1", "2", `PPRUN_RANK="-1"`},
		{"2", "2", "want a rank below the size"},
	} {
		t.Setenv(EnvAgent, "/nowhere")
		t.Setenv(EnvRank, c.rank)
		t.Setenv(EnvSize, c.size)
		if _, _, err := FromEnviron(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("rank %q of %q: %v, want %q", c.rank, c.size, err, c.want)
		}
	}
}

func TestLongSocketPath(t *testing.T) {
	if _, err := Listen("/tmp/" + strings.Repeat("x", 100)); err == nil || !strings.Contains(err.Error(), "105 bytes, at most 99") {
		t.Errorf("got %v", err)
	}
}
