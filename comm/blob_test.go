package comm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/scripts/bounded"
)

var (
	largeEcho = Register("large_echo", func(_ context.Context, b []byte) ([]byte, error) {
		b[0]++ // an argument belongs to the function
		return b, nil
	})
	largeMake = Register("large_make", func(ctx context.Context, n int) ([]byte, error) { return random(n), nil })
	largeHold = Register("large_hold", func(ctx context.Context, b []byte) (int, error) {
		holding <- struct{}{}
		<-ctx.Done()
		return len(b), nil
	})
	largeGet = Register("large_get", func(ctx context.Context, r Ref[[]byte]) (int, error) {
		b, err := r.Get(ctx)
		return len(b), err
	})
	ping    = Register("ping", func(context.Context, int) (int, error) { return 0, nil })
	holding = make(chan struct{}, 10)
)

// random returns bytes that depend on their number.
func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(b)
	return b
}

// ranksOf makes ranks in this process that are closed, and hold nothing any more, when the test ends.
func ranksOf(t *testing.T, size int, opts ...InitOption) (context.Context, []*Comm) {
	comms, err := World(t.Context(), size, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var all sync.WaitGroup
		for _, c := range comms {
			all.Go(func() { c.Close() })
		}
		all.Wait()
	})
	return NewContext(t.Context(), comms[0]), comms
}

// holds counts the blobs, fetches, calls with large data, and values for all that a rank holds.
func (s *blobs) holds() int {
	s.comm.memo.mu.Lock()
	defer s.comm.memo.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held.len() + s.fetches.len() + len(s.large) + len(s.offers) + len(s.comm.memo.values)
}

// mustHold waits until the ranks hold so many in all.
func mustHold(t *testing.T, comms []*Comm, want int) {
	t.Helper()
	n := 0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n = 0
		for _, c := range comms {
			n += c.blobs.holds()
		}
		if n == want {
			return
		}
	}
	t.Errorf("the ranks hold %d blobs, fetches, calls, offers and values, want %d", n, want)
}

// A tamper is a port on which frames are changed, or lost where it returns false.
type tamper struct {
	port
	on func(h frame.Header, payload []byte) ([]byte, bool)
}

func (p tamper) send(h frame.Header, payload []byte) {
	if payload, ok := p.on(h, payload); ok {
		p.port.send(h, payload)
	}
}

func TestLargeArgumentsAndResults(t *testing.T) {
	ctx, comms := ranksOf(t, 3)
	for _, n := range []int{inlineLen, inlineLen + pieceLen + 5} {
		b := random(n)
		want := bytes.Clone(b)
		want[0]++
		rs, err := largeEcho.OnAll(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		for rank, r := range rs {
			if !bytes.Equal(r, want) {
				t.Errorf("%d bytes came back from rank %d as %d others", n, rank, len(r))
			}
		}
	}
	comms[0].blobs.trimAll()
	mustHold(t, comms, 0)
}

// trimAll gives up the arguments that came again, as time would.
func (s *blobs) trimAll() {
	s.mu.Lock()
	for _, r := range s.repeats.kept {
		r.idle -= maxIdleFor
	}
	s.mu.Unlock()
	s.trim()
}

func TestCanceledTransfersFreeWhatTheyHold(t *testing.T) {
	ctx, comms := ranksOf(t, 2, Slots(1))
	pieces := make(chan bool, 100)
	comms[1].up = tamper{comms[1].up, func(h frame.Header, payload []byte) ([]byte, bool) {
		if h.Kind == kindPiece {
			pieces <- true
		}
		return payload, h.Kind != kindPiece
	}}
	scope, cancel := context.WithCancel(ctx)
	var fs []*Future[int]
	for i := range 4 {
		fs = append(fs, largeHold.Submit(scope, random(inlineLen+i+1)))
	}
	<-holding
	<-holding
	cancel()
	for _, f := range fs {
		if _, err := f.Get(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	}
	mustHold(t, comms, 0)

	scope, cancel = context.WithCancel(ctx)
	f := largeMake.submit(scope, ptr(inlineLen+1), nil, 1)
	comms[0].up.flush()
	<-pieces // its result is on its way
	mustHold(t, comms, 4)
	cancel()
	if _, err := f.Get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	mustHold(t, comms, 0)
	if n, err := ping.submit(ctx, new(int), nil, 1).Get(ctx); err != nil {
		t.Errorf("after that: %d, %v", n, err)
	}
}

func ptr[T any](v T) *T { return &v }

func TestCorruptedTransfer(t *testing.T) {
	ctx, comms := ranksOf(t, 2)
	var spoil, fetched atomic.Int32
	comms[0].up = tamper{comms[0].up, func(h frame.Header, payload []byte) ([]byte, bool) {
		if h.Kind == kindPiece {
			fetched.Add(1)
			if spoil.Add(-1) >= 0 {
				payload = bytes.Clone(payload)
				payload[len(payload)/2] ^= 1
			}
		}
		return payload, true
	}}
	get := func(n int) error {
		r, err := Share(ctx, random(n))
		if err != nil {
			return err
		}
		_, err = largeGet.submit(ctx, &r, nil, 1).Get(ctx)
		return err
	}
	spoil.Store(1)
	if err := get(pieceLen + 7); err != nil || fetched.Load() != 4 {
		t.Errorf("changed once: %d pieces, %v", fetched.Load(), err)
	}
	spoil.Store(3)
	if err := get(pieceLen + 8); err == nil || !strings.Contains(err.Error(), "from rank 0 (node0): the data was changed on its way") {
		t.Errorf("changed each time: %v", err)
	}
	spoil.Store(0)
	if err := get(pieceLen + 8); err != nil {
		t.Errorf("after that: %v", err)
	}
	spoil.Store(1000)
	_, err := largeEcho.submit(ctx, ptr(random(inlineLen+1)), nil, 1).Get(ctx)
	if err == nil || !strings.Contains(err.Error(), "from rank 0 (node0): the data was changed on its way") {
		t.Errorf("a changed argument: %v", err)
	}
}

// TestLostOwner has a fetch under way, and one to come, from a rank that is lost.
func TestLostOwner(t *testing.T) {
	ctx, comms := ranksOf(t, 2)
	asked := make(chan bool, 100)
	comms[0].up = tamper{comms[0].up, func(h frame.Header, payload []byte) ([]byte, bool) {
		if h.Kind == kindFetch {
			asked <- true
		}
		return payload, h.Kind != kindFetch
	}}
	r, err := Share(NewContext(ctx, comms[1]), random(100))
	if err != nil {
		t.Fatal(err)
	}
	under := make(chan error)
	go func() { _, err := r.Get(ctx); under <- err }()
	<-asked
	comms[0].blobs.lose(1, &LostError{Rank: 1, Node: "node1", Reason: "it ended"})
	_, after := r.Get(ctx)
	for _, err := range []error{<-under, after} {
		lost := new(LostError)
		if !errors.As(err, &lost) || lost.Rank != 1 || !strings.Contains(err.Error(), "rank 1 (node1) is lost: it ended") {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzBlobRef(f *testing.F) {
	f.Add(blobRef{size: 5 << 30, owner: 3, id: 1<<32 + 7, shared: true}.append(nil))
	f.Add(bytes.Repeat([]byte{0xff}, blobRefLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		r, err := parseBlobRef(b)
		if err == nil && (r.size < 0 || r.owner < 0 || !bytes.Equal(r.append(nil), b)) {
			t.Errorf("%x is %+v, which is %x", b, r, r.append(nil))
		}
	})
}

// TestRoomForPieces lets a rank claim to hold more than it sends.
func TestRoomForPieces(t *testing.T) {
	piece := make([]byte, pieceLen)
	b := appendPiece(nil, piece, 1<<62)
	for i := 1; i < 20; i++ {
		if cap(b) > 65*i*pieceLen+4*pieceLen {
			t.Fatalf("after %d pieces there is room for %d bytes", i, cap(b))
		}
		b = appendPiece(b, piece, 1<<62)
	}
	if b := appendPiece(nil, piece[:5], 5); len(b) != 5 || cap(b) > pieceLen {
		t.Errorf("room for %d bytes", cap(b))
	}
}

// TestOncePerNode has two ranks of one node ask for the same at once.
func TestOncePerNode(t *testing.T) {
	ctx, comms := ranksOf(t, 3)
	dir := t.TempDir()
	comms[1].blobs.dir, comms[2].blobs.dir = dir, dir
	var served atomic.Int32
	comms[0].up = tamper{comms[0].up, func(h frame.Header, payload []byte) ([]byte, bool) {
		if h.Kind == kindPiece {
			served.Add(1)
		}
		return payload, true
	}}
	r, err := Share(ctx, random(9*pieceLen+1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := largeGet.OnAll(ctx, r); err != nil || served.Load() != 10 {
		t.Errorf("%d pieces were sent, want 10, %v", served.Load(), err)
	}
	files := func() []string { f, _ := filepath.Glob(filepath.Join(dir, "*")); return f }
	if n := len(files()); n != 2 {
		t.Errorf("the node has %q, want a file and its lock", files())
	}
	if err := r.Release(ctx); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); len(files()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after Release the node has %q", files())
		}
	}
	// A file that is not what it should be is no use.
	if r, err = Share(ctx, random(pieceLen)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(comms[1].blobs.file(r.ref.digest), make([]byte, pieceLen), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := largeGet.submit(ctx, &r, nil, 1).Get(ctx); err != nil {
		t.Error(err)
	}
}

// TestNoFiles has a node where no files can be written: each rank fetches for itself.
func TestNoFiles(t *testing.T) {
	ctx, comms := ranksOf(t, 2)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	comms[1].blobs.dir = filepath.Join(file, "no directory")
	r, err := Share(ctx, random(pieceLen))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := largeGet.OnAll(ctx, r); err != nil {
		t.Error(err)
	}
}

// TestKilledFetcher has a rank wait for another process of its node, which is to fetch and is killed.
func TestKilledFetcher(t *testing.T) {
	ctx, comms := ranksOf(t, 2)
	comms[1].blobs.dir = t.TempDir()
	r, err := Share(ctx, random(100))
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "COMM_TEST_PROGRAM=locks", "LOCK="+comms[1].blobs.file(r.ref.digest)+".lock")
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer other.Process.Kill()
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "locked\n" {
		t.Fatalf("it said %q, %v", said, err)
	}
	hasty, cancel := context.WithCancel(ctx)
	f := largeGet.submit(hasty, &r, nil, 1)
	cancel()
	if _, err := f.Get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	f = largeGet.submit(ctx, &r, nil, 1)
	comms[0].up.flush()
	other.Process.Kill()
	if n, err := f.Get(ctx); n != 100 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
}

// TestLostRunner loses the rank that ran a task while its result is being fetched: another one runs it again.
func TestLostRunner(t *testing.T) {
	ctx, comms := ranksOf(t, 3)
	h := comms[0].up.(hubPort).hub
	h.mu.Lock()
	h.members[1].role, h.members[2].role = place.Serve, place.Serve
	links := []*link{nil, h.members[1].link, h.members[2].link}
	h.mu.Unlock()
	var first atomic.Uint32
	stalled := make(chan uint32, 100)
	for _, c := range comms[1:] {
		c.up = tamper{c.up, func(h frame.Header, payload []byte) ([]byte, bool) {
			if h.Kind != kindPiece || !first.CompareAndSwap(0, h.Src) && first.Load() != h.Src {
				return payload, true
			}
			stalled <- h.Src
			return nil, false
		}}
	}
	f := largeMake.Submit(ctx, inlineLen+7, OnRanks(1, 2))
	comms[0].up.flush()
	links[<-stalled].conn.Close()
	b, err := f.Get(ctx)
	if err != nil || !bytes.Equal(b, random(inlineLen+7)) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	mustHold(t, comms, 0)
}
