package launch

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// readers are ranks that an input is forwarded to. They read nothing by themselves.
type readers struct {
	*input
	t    *testing.T
	mu   sync.Mutex
	got  map[int][]byte
	over map[int]bool // the end has come
	news chan struct{}
}

func forwardTo(t *testing.T, file *os.File, ranks ...int) *readers {
	t.Helper()
	in, err := openInput(file, ranks)
	if err != nil {
		t.Fatal(err)
	}
	r := &readers{input: in, t: t, got: map[int][]byte{}, over: map[int]bool{}, news: make(chan struct{}, 1)}
	in.ended = make(chan struct{})
	go func() {
		defer close(in.ended)
		in.forward(r.take)
	}()
	return r
}

func (r *readers) take(rank int, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got[rank] = append(r.got[rank], b...)
	r.over[rank] = r.over[rank] || len(b) == 0
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// state returns what a rank was sent, and whether that was all.
func (r *readers) state(rank int) (got []byte, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[rank], r.over[rank]
}

// await waits until a rank was sent all this, and the end if over.
func (r *readers) await(rank int, want string, over bool) {
	r.t.Helper()
	limit := time.After(10 * time.Second)
	for {
		got, o := r.state(rank)
		if string(got) == want && o == over {
			return
		}
		select {
		case <-r.news:
		case <-limit:
			r.t.Fatalf("rank %d was sent %q, end %v; want %q, end %v", rank, got, o, want, over)
		}
	}
}

// awaitEnd waits until nothing is forwarded any more.
func (r *readers) awaitEnd() {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		r.t.Fatal("still forwarding")
	}
}

// reads is credit for what a rank has read.
func (r *readers) reads(rank, bytes int) { r.credit(credit{rank: rank, bytes: bytes}) }

func TestFileIsWoundBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Seek(2, io.SeekStart)
	r := forwardTo(t, f, 0, 1)
	r.await(0, "23456789", true)
	r.await(1, "23456789", true)
	if at, _ := f.Seek(0, io.SeekCurrent); at != 2 {
		t.Errorf("before anybody has read, the file is at %d, want 2", at)
	}
	r.reads(0, 1)
	r.leave(0, 3)
	r.leave(1, 5) // it read most
	r.close()
	if rest, _ := io.ReadAll(f); string(rest) != "789" {
		t.Errorf("left %q, want %q", rest, "789")
	}
}

// What can neither be wound back nor looked into is read as it is.
func TestOtherInput(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := forwardTo(t, f, 0)
	r.await(0, "", true)
	r.close()

	if f, err = os.Open("/dev/zero"); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r = forwardTo(t, f, 0)
	for n := 0; n < 1_000_000; {
		<-r.news
		if got, _ := r.state(0); len(got) > n { // no credit at all would say that it takes no more
			r.reads(0, len(got)-n)
			n = len(got)
		}
	}
	r.close()
	if !bytes.Equal(r.got[0], make([]byte, len(r.got[0]))) {
		t.Error("these are no zeros")
	}
}
