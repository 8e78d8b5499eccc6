package comm_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/place"
)

func init() {
	programs["waits for leave"] = func() { // until somebody makes a file
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			dir := os.Getenv("HELD")
			if err := os.WriteFile(filepath.Join(dir, "up"), nil, 0o600); err != nil {
				return err
			}
			return await(filepath.Join(dir, "leave"))
		})
	}
}

// await waits for a file.
func await(path string) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not come", path)
}

// A tape is what went both ways over a connection to a hub.
type tape struct {
	mu       sync.Mutex
	up, down []byte
}

// record passes connections on to an address, and returns its own.
func (x *tape) record(t *testing.T, to string) string {
	return stranger(t, func(c net.Conn) {
		hub, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { hub.Close() })
		go x.copy(&x.up, hub, c)
		go x.copy(&x.down, c, hub)
	})
}

func (x *tape) copy(log *[]byte, to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		x.mu.Lock()
		*log = append(*log, b[:n]...)
		x.mu.Unlock()
		if err != nil {
			return
		}
		to.Write(b[:n])
	}
}

// play sends what the rank had sent to a hub.
func (x *tape) play(t *testing.T, hub string) {
	t.Helper()
	conn, err := net.Dial("tcp", hub)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second)) // the hub's patience is 5 s
	x.mu.Lock()
	conn.Write(x.up)
	x.mu.Unlock()
	if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("the hub keeps a replayed connection")
	}
}

// TestReplay plays a rank's session to the hub that it was with, and to the next one, of the same authority even: neither
// takes it in, and both say so. Who plays the hub's part to a rank of the next job is not believed either.
func TestReplay(t *testing.T) {
	const turnedAway = "pprun: rank 0: the hub turns away 127.0.0.1:"
	dir := t.TempDir()
	ca := newAuthority(t, "test")
	job := func() *agent {
		a := newAgent(t, 2, "tcp")
		a.places[0].Server = ca.issue("pprun://job/test/hub")
		a.places[1].Client = ca.issue("pprun://job/test/node/1/ranks/1")
		return a
	}
	first := job()
	hub := first.places[1].Hub[0].Addr
	var session tape
	first.places[1].Hub[0].Addr = session.record(t, hub)
	zero, one := first.start(0, "waits for leave", "HELD="+dir), first.start(1, "waits for leave")
	if err := await(filepath.Join(dir, "up")); err != nil {
		t.Fatal(err)
	}
	session.play(t, hub)
	if err := os.WriteFile(filepath.Join(dir, "leave"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*process{zero, one} {
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d: %s", code, &p.err)
		}
	}
	if said := zero.err.String(); strings.Count(said, turnedAway) != 1 {
		t.Errorf("the same hub says %q", said)
	}

	next := job()
	session.mu.Lock()
	down := session.down
	session.mu.Unlock()
	squatter := stranger(t, func(c net.Conn) { c.Write(down) })
	hub = next.places[1].Hub[0].Addr
	next.places[1].Hub = []place.Address{{Network: "tcp", Addr: squatter}, {Network: "tcp", Addr: hub}}
	ps := []*process{next.start(0, "farm")}
	session.play(t, hub)
	for _, p := range append(ps, next.start(1, "farm")) {
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d: %s", code, &p.err)
		}
	}
	if said, out := ps[0].err.String(), ps[0].out.String(); strings.Count(said, turnedAway) != 1 || out != "30 [0 1] 2 2\n" {
		t.Errorf("the next hub says %q, its rank %q", said, out)
	}

	alone := job()
	alone.places[1].Hub[0].Addr = squatter
	rank := alone.start(1, "joins")
	if rank.exit(t); !strings.Contains(rank.out.String(), "tcp "+squatter+": ") {
		t.Errorf("a rank that finds nobody else says %q %q", &rank.out, &rank.err)
	}
	t.Logf("%s%s%s", &zero.err, &ps[0].err, &rank.out)
}
