package comm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// breaches are what a link may carry that is no frame of the protocol, or not in its place, and what is said of it. The
// hub says it of the rank and to the rank, and a rank of the hub. What comes before the welcome is in TestHelloCheck.
var breaches = []struct {
	name      string
	wire      []byte
	hub, rank string // empty: it is taken
}{
	{"unknown kind", frame.Append(nil, frame.Header{Kind: 255, Src: 2}, nil), "frame: unknown kind 255", "frame: unknown kind 255"},
	{"text", []byte("GET / HTTP/1.1\r\nHost: node0\r\n\r\n"), "frame: unknown kind 47", "frame: unknown kind 47"},
	{"zeros", make([]byte, frame.HeaderLen), "frame: unknown kind 0", "frame: unknown kind 0"},
	{"length of 4 GiB", head(frame.Header{Kind: kindMessage, Src: 2, Len: math.MaxUint32}), "frame: kind 11: payload of 4294967295 bytes, at most 1048576", "frame: kind 11: payload of 4294967295 bytes, at most 1048576"},
	{"length where there is none", one(frame.Header{Kind: kindCancel, Src: 2}, 1)(), "frame: kind 8: payload of 1 bytes, want none", "frame: kind 8: payload of 1 bytes, want none"},
	{"frame of another rank", one(frame.Header{Kind: kindCancel, Src: 1}, 0)(), "it sends a frame of rank 1", ""},
	{"frame of no rank", one(frame.Header{Kind: kindCancel, Src: 3}, 0)(), "it sends a frame of rank 3", "a frame of rank 3 of 3"},
	{"second hello", one(frame.Header{Kind: kindHello, Src: 2}, 10)(), "a frame of kind 1 out of turn", "frame: unknown kind 1"},
	{"second welcome", one(frame.Header{Kind: kindWelcome, Src: 0}, 10)(), "frame: unknown kind 2", "a frame of kind 2 out of turn"},
	{"message for no rank", one(frame.Header{Kind: kindMessage, Src: 2, Dst: 3}, 1)(), "a message for rank 3 of 3", ""},
	{"empty task", one(frame.Header{Kind: kindSubmit, Src: 2}, 0)(), "a task of 0 bytes", "frame: unknown kind 5"},
	{"task of no function", func() []byte {
		b := make([]byte, taskHeadLen)
		putTaskHead(b, taskHead{fn: 1 << 20})
		return frame.Append(nil, frame.Header{Kind: kindSubmit, Src: 2, Dst: anyRank}, b)
	}(), "a task of function 1048576 of ", "frame: unknown kind 5"},
	{"result of no task", one(frame.Header{Kind: kindResult, Src: 2, ID: 77}, resultHeadLen)(), "a result of run 0x4d, which it does not have", ""},
	{"run of no function", func() []byte {
		b := make([]byte, taskHeadLen)
		putTaskHead(b, taskHead{fn: 1 << 20})
		return frame.Append(nil, frame.Header{Kind: kindRun, Src: 0}, b)
	}(), "frame: unknown kind 6", "a run of function 1048576 of "},
	{"membership that is none", one(frame.Header{Kind: kindMembers}, 3)(), "frame: unknown kind 16", "cbor: "},
	{"message with a negative tag", one(frame.Header{Kind: kindMessage, Src: 2, Dst: 1, ID: 1<<64 - 1}, 1)(), "", ""},
}

func TestBreachesAtTheHub(t *testing.T) {
	for _, c := range breaches {
		t.Run(c.name, func(t *testing.T) {
			b, err := NewTestbed(t.Context(), 3, pipe)
			if err != nil {
				t.Fatal(err)
			}
			b.Comm(2).up.(*link).conn.Write(c.wire)
			if c.hub != "" {
				for b.door.hub.lostReason(2) == "" {
					time.Sleep(time.Millisecond)
				}
				if got := b.door.hub.lostReason(2); !strings.Contains(got, c.hub) {
					t.Errorf("the hub says %q, want %q", got, c.hub)
				}
				var lost *LostError
				if err := b.Comm(2).Close(); !errors.As(err, &lost) || lost.Rank != 2 || lost.Node != "node2" || !strings.Contains(lost.Reason, c.hub) {
					t.Errorf("the rank says %v, want %q", err, c.hub)
				}
			}
			b.end(t, c.hub != "")
		})
	}
}

func TestBreachesAtARank(t *testing.T) {
	for _, c := range breaches {
		t.Run(c.name, func(t *testing.T) {
			b, err := NewTestbed(t.Context(), 3, pipe)
			if err != nil {
				t.Fatal(err)
			}
			b.door.hub.members[2].link.conn.Write(c.wire)
			if c.rank != "" {
				var lost *LostError
				if err := b.Comm(2).Close(); !errors.As(err, &lost) || lost.Rank != 0 || lost.Node != "node0" || !strings.Contains(lost.Reason, "the link to the hub broke: "+c.rank) {
					t.Errorf("the rank says %v, want %q", err, c.rank)
				}
				for b.door.hub.lostReason(2) == "" {
					time.Sleep(time.Millisecond)
				}
			}
			b.end(t, c.rank != "")
		})
	}
}

// lostReason is why a rank is lost; empty: it is not.
func (h *hub) lostReason(rank int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if lost := h.members[rank].lost; lost != nil {
		return lost.Reason
	}
	return ""
}

// end has the ranks leave, but for rank 2 if it is lost.
func (b *Testbed) end(t *testing.T, lost bool) {
	t.Helper()
	ends := make(chan error, len(b.comms))
	ranks := b.comms
	if lost {
		ranks = ranks[:2]
	}
	for _, c := range ranks {
		go func() { ends <- c.Close() }()
	}
	for range ranks {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
}

// A rank that has a part in the program takes the job with it: all hear which, and why.
func TestBreachOfASPMDRank(t *testing.T) {
	b, err := newTestbed(t.Context(), 3, place.SPMD, pipe, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Comm(2).up.(*link).conn.Write(one(frame.Header{Kind: 255, Src: 2}, 0)())
	for rank, c := range b.comms {
		if err := c.Close(); err == nil || err.Error() != "comm: rank 2 (node2) is lost: its link broke: frame: unknown kind 255" {
			t.Errorf("rank %d says %v", rank, err)
		}
	}
}

// A stream of frames that ends anywhere is an end in order between frames, and else one that is told as such.
func TestTruncatedStream(t *testing.T) {
	hi := must(appendCBOR(nil, kindHello, hello{Protocol: protocol, Job: "world", Ranks: []helloRank{{1, 0, 1, place.Serve}}}))
	stream := slices.Concat(hi, one(frame.Header{Kind: kindCancel}, 0)(), one(frame.Header{Kind: kindSubmit}, 40)())
	ends := []int{0, len(hi), len(hi) + frame.HeaderLen, len(stream)}
	for n := range len(stream) + 1 {
		r := frame.NewReader(bytes.NewReader(stream[:n]), &upLimits)
		var err error
		for err == nil {
			_, _, err = r.Next()
		}
		if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[slices.Contains(ends, n)]; !errors.Is(err, want) {
			t.Errorf("after %d bytes: %v, want %v", n, err, want)
		}
	}
	if err := fmt.Sprint(readCBOR(frame.NewReader(bytes.NewReader(hi[:10]), &upLimits), kindHello, &hello{})); err != io.ErrUnexpectedEOF.Error() {
		t.Errorf("half a hello: %s", err)
	}
}
