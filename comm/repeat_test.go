package comm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/pprun/pprun/comm/frame"
)

var sumOf = Register("sum_of", func(_ context.Context, b []byte) ([32]byte, error) {
	sum := sha256.Sum256(b)
	b[0]++ // nobody else sees it
	return sum, nil
})

// TestRepeatedArgument submits the same argument again and again: it travels three times, once for itself, and once to
// each rank. Then it changes between two submits.
func TestRepeatedArgument(t *testing.T) {
	ctx, comms := ranksOf(t, 3, Slots(1))
	var sent atomic.Int64
	comms[0].up = tamper{comms[0].up, func(h frame.Header, payload []byte) ([]byte, bool) {
		if h.Kind == kindPiece || h.Kind == kindSubmit {
			sent.Add(int64(len(payload)))
		}
		return payload, true
	}}
	submit := func(b []byte, n int) {
		t.Helper()
		var fs []*Future[[32]byte]
		want := sha256.Sum256(b)
		for range n {
			fs = append(fs, sumOf.Submit(ctx, b))
		}
		b[len(b)/2]++ // an argument is what it is when it is submitted
		rs, err := Gather(ctx, fs...)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(rs, func(r [32]byte) bool { return r != want }) {
			t.Errorf("the sums are %x, want %x", rs, want)
		}
	}
	b := random(repeatLen + 100)
	submit(b, 20)
	if n := sent.Load(); n > int64(3*len(b)+10_000) {
		t.Errorf("%d bytes were sent for 20 times %d", n, len(b))
	}
	submit(b, 1)
	submit(b, 3)
	submit(random(repeatLen+101), 5)
	if xs := comms[0].blobs.repeats.kept; len(xs) != 2 {
		t.Errorf("%d arguments are kept, want 2", len(xs))
	}
	comms[0].blobs.trimAll()
	mustHold(t, comms, 0)
	submit(random(repeatLen), 3)
	if xs := comms[0].blobs.repeats.kept; len(xs) != 0 {
		t.Errorf("a short argument is kept")
	}
}

// TestReusedBuffer submits one buffer with ever other contents, some of which cannot be told apart at a glance.
func TestReusedBuffer(t *testing.T) {
	ctx, comms := ranksOf(t, 2)
	b := random(2 * repeatLen)
	for i := range 12 {
		at := 0 // seen by sample
		if i%2 > 0 {
			at = 2*sampleLen + i // not seen
		}
		b[at]++
		want := sha256.Sum256(b)
		if got, err := sumOf.Call(ctx, bytes.Clone(b)); got != want || err != nil {
			t.Fatalf("%d: got %x, want %x, %v", i, got, want, err)
		}
	}
	comms[0].blobs.trimAll()
	mustHold(t, comms, 0)
}
