package comm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
)

func init() {
	programs["locks"] = func() {
		f, err := os.OpenFile(os.Getenv("LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
		if err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("locked")
		select {}
	}
	programs["shares"] = func() {
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			r, err := comm.Share(ctx, slices.Repeat([]float64{1.5}, 1_000_000))
			if err != nil {
				return err
			}
			last, err := lookUp.OnAll(ctx, r)
			fmt.Println(last)
			return err
		})
	}
	programs["huge"] = func() {
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			for _, huge := range hugeLens() {
				n, err := sound.Call(ctx, marked(huge))
				if err == nil && n != huge {
					err = fmt.Errorf("it is not sound at %d", n)
				}
				if err != nil {
					return err
				}
			}
			longest := min(hugeLens()[0], 1<<30) // of a message
			if err := c.SendMessage(ctx, 0, 1, marked(longest)); err != nil {
				return err
			}
			b, err := c.RecvMessage(ctx, 0, 1)
			if err == nil && (len(b) != longest || !bytes.Equal(b, marked(longest))) {
				err = fmt.Errorf("the message has %d bytes, or others", len(b))
			}
			return err
		}, comm.Slots(map[string]int{"0": 0, "1": 1}[os.Getenv("PPRUN_RANK")]))
	}
}

// TestSharedByNode has two nodes with two ranks each.
func TestSharedByNode(t *testing.T) {
	a := newAgent(t, 4, "unix")
	dirs := []string{t.TempDir(), t.TempDir()}
	for rank := range a.places {
		p := &a.places[rank]
		p.Nodes, p.NodeOf, p.Node = []string{"n0", "n1"}, []int{0, 0, 1, 1}, rank/2
		p.Dir = dirs[rank/2]
	}
	if out := a.run("shares"); out[0] != "[1.5 1.5 1.5 1.5]\n" {
		t.Errorf("got %q", out)
	}
	for node, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, ".shared", "*"))
		if err != nil || len(files) != 2 || !strings.HasSuffix(files[1], ".lock") {
			t.Errorf("node %d has %q, want a file and its lock", node, files)
		}
	}
}

// hugeLens are more than 31 and more than 32 bits can count where COMM_TEST_HUGE is set, as .ci/run does for a step of
// its own.
func hugeLens() []int {
	if os.Getenv("COMM_TEST_HUGE") != "" {
		return []int{2<<30 + 1, 4<<30 + 5}
	}
	return []int{64<<20 + 5}
}

// marked makes bytes most of which are never touched, and sound says how many are as marked left them.
func marked(n int) []byte {
	b := make([]byte, n)
	for at := 0; at+8 <= n; at += 16 << 20 {
		binary.LittleEndian.PutUint64(b[at:], uint64(at))
	}
	return b
}

var sound = comm.Register("sound", func(_ context.Context, b []byte) (int, error) {
	for at := 0; at+8 <= len(b); at += 16 << 20 {
		if binary.LittleEndian.Uint64(b[at:]) != uint64(at) {
			return at, errors.New("the mark is wrong")
		}
	}
	return len(b), nil
})

func TestHugeArgument(t *testing.T) {
	t.Log(hugeLens(), "bytes")
	a := newAgent(t, 2, "unix")
	for _, p := range []*process{a.start(1, "huge"), a.start(0, "huge")} {
		kill := time.AfterFunc(3*time.Minute, func() { p.Process.Kill() })
		if err := p.Wait(); err != nil {
			t.Errorf("%v: %s", err, &p.err)
		}
		kill.Stop()
	}
}

// A crate is long and no slice: it travels as CBOR, and in chunks if that is asked for.
type crate struct {
	N    int
	Data []byte
}

var repack = comm.Register("repack", func(_ context.Context, c crate) (crate, error) {
	c.N++
	return c, nil
})

func TestLongElements(t *testing.T) {
	world(t, 3, onZero(func(ctx context.Context, c *comm.Comm) error {
		crates := func(yield func(crate) bool) {
			for i := range 5 {
				if !yield(crate{i, make([]byte, 5_000_000*(i%3))}) {
					return
				}
			}
		}
		for _, opts := range [][]comm.Option{nil, {comm.Chunk(3)}, {comm.Chunk(comm.Auto)}} {
			i := 0
			for r, err := range repack.Map(ctx, crates, opts...) {
				if err != nil || r.N != i+1 || len(r.Data) != 5_000_000*(i%3) {
					return fmt.Errorf("element %d came back as %d with %d bytes, %v", i, r.N, len(r.Data), err)
				}
				i++
			}
		}
		return nil
	}))
}
