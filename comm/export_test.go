package comm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// EarlyLies are what a rank says to the hub before it is let in, with the certificate of rank 2 on node 2.
var EarlyLies = []struct {
	Name  string
	frame func(honest hello) []byte
	Want  string // the hub's answer; empty: it says nothing and hangs up
}{
	{"rank of another node", claim(1), "it claims rank 1, which its certificate does not name"},
	{"another's rank beside its own", claim(2, 1), "it claims rank 1, which its certificate does not name"},
	{"rank 0", claim(0), "it claims rank 0 of 4"},
	{"rank -1", claim(-1), "it claims rank -1 of 4"},
	{"rank 2^31", claim(1 << 31), "it claims rank 2147483648 of 4"},
	{"its own twice", claim(2, 2), "it claims rank 2 of 4"},
	{"rank 2^63", func(hello) []byte {
		return must(appendCBOR(nil, kindHello, map[string]any{"Protocol": protocol, "Job": "test", "Ranks": []any{map[string]any{"Rank": uint64(1 << 63)}}}))
	}, ""},
	{"a list of 2^63 ranks", func(hello) []byte {
		return frame.Append(nil, frame.Header{Kind: kindHello}, []byte("\xa1\x65Ranks\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"))
	}, ""},
	{"length 2^32-1", func(hello) []byte { return head(frame.Header{Kind: kindHello, Len: math.MaxUint32}) }, ""},
	{"unknown kind", func(hello) []byte { return head(frame.Header{Kind: 255, Len: math.MaxUint32}) }, ""},
	{"a task before the hello", func(hello) []byte { return frame.Append(nil, frame.Header{Kind: kindSubmit}, make([]byte, 100)) }, ""},
}

func claim(ranks ...int) func(hello) []byte {
	return func(h hello) []byte {
		h.Ranks = nil
		for _, r := range ranks {
			h.Ranks = append(h.Ranks, helloRank{Rank: r, Slots: 1, Role: place.Serve})
		}
		return must(appendCBOR(nil, kindHello, h))
	}
}

func head(h frame.Header) []byte {
	b := make([]byte, frame.HeaderLen)
	frame.Put(b, h)
	return b
}

// LateLies are what rank 2 says when it is in. Cut says that the hub ends its link for it.
var LateLies = []struct {
	Name   string
	frames func() []byte
	Cut    bool
}{
	{"frame of rank 1", one(frame.Header{Kind: kindCancel, Src: 1}, 0), true},
	{"frame of rank 0", one(frame.Header{Kind: kindBye, Src: 0}, 0), true},
	{"frame of rank 2^32-1", one(frame.Header{Kind: kindCancel, Src: math.MaxUint32}, 0), true},
	{"message for rank 2^31", one(frame.Header{Kind: kindMessage, Src: 2, Dst: 1 << 31}, 5), true},
	{"task for rank 2^31", one(frame.Header{Kind: kindSubmit, Src: 2, Dst: 1 << 31}, 16), true},
	{"task of no function", func() []byte {
		b := make([]byte, 16)
		putTaskHead(b, taskHead{fn: math.MaxUint32})
		return frame.Append(nil, frame.Header{Kind: kindSubmit, Src: 2, Dst: 1}, b)
	}, true},
	{"half a task", one(frame.Header{Kind: kindSubmit, Src: 2, Dst: 1}, 3), true},
	{"length 2^32-1", func() []byte { return head(frame.Header{Kind: kindMessage, Src: 2, Len: math.MaxUint32}) }, true},
	{"unknown kind", one(frame.Header{Kind: 255, Src: 2}, 5), true},
	{"what the hub says", one(frame.Header{Kind: kindWelcome, Src: 2}, 5), true},
	{"2^63 slots", one(frame.Header{Kind: kindSlots, Src: 2, ID: 1 << 63}, 0), true},
	{"odd blob", one(frame.Header{Kind: kindFetch, Src: 2, Dst: 1}, 1), true},
	{"what nobody asked for", func() (b []byte) {
		for _, k := range []frame.Kind{kindAnswer, kindPiece, kindMissing, kindAck} {
			for dst := range uint32(4) {
				b = frame.Append(b, frame.Header{Kind: k, Src: 2, Dst: dst, ID: math.MaxUint64}, nil)
				b = frame.Append(b, frame.Header{Kind: k, Src: 2, Dst: dst, ID: 1 << 63}, nil)
			}
		}
		for _, k := range []frame.Kind{kindRelease, kindForget} {
			b = frame.Append(b, frame.Header{Kind: k, Src: 2, Dst: 1, ID: 7}, make([]byte, digestLen))
		}
		return frame.Append(b, frame.Header{Kind: kindFetch, Src: 2, Dst: 1}, make([]byte, fetchLen))
	}, false},
	{"a million frames", func() []byte {
		b := frame.Append(nil, frame.Header{Kind: kindCancel, Src: 2, ID: math.MaxUint64}, nil)
		return []byte(strings.Repeat(string(b), 1_000_000))
	}, false},
}

func one(h frame.Header, n int) func() []byte {
	return func() []byte { return frame.Append(nil, h, make([]byte, n)) }
}

// Lie makes this process rank 2, which says all early lies, each on a link of its own, then joins and serves, and says the
// late lie once told is closed. It prints what the hub answers, and returns when its link has ended.
func Lie(ctx context.Context, late string, told <-chan struct{}) error {
	fns := registered.freeze("the liar")
	seat, err := place.Take(ctx, place.Serve)
	if err != nil {
		return err
	}
	p := &seat.Place
	honest := hello{Protocol: protocol, Job: p.Job, Fingerprint: fingerprint(signatures(fns))}
	for _, lie := range EarlyLies {
		said, err := sayTo(p, lie.frame(honest))
		fmt.Printf("%s: %s%v\n", lie.Name, said, err)
	}
	c, err := join(ctx, seat, nil, place.Serve, newSettings(nil), fns)
	if err != nil {
		return err
	}
	<-told
	for _, lie := range LateLies {
		if lie.Name == late {
			c.up.(*link).conn.Write(lie.frames())
		}
	}
	return c.Close()
}

// sayTo says something to the hub on a link of its own, as one who has the rank's certificate can.
func sayTo(p *place.Place, b []byte) (refusal string, err error) {
	conn, err := net.Dial("tcp", p.Hub[0].Addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	secure, err := p.Client.Client(conn, p.Job, place.ProtoRank)
	if err == nil {
		err = secure.HandshakeContext(context.Background())
	}
	if err == nil {
		_, err = secure.Write(b)
	}
	if err != nil {
		return "", err
	}
	h, payload, err := frame.NewReader(secure, &downLimits).Next()
	if err == nil && h.Kind == kindRefuse {
		return string(payload), nil
	}
	return "", err
}

// Host makes this process rank 0, and may do so again once that is closed.
func Host(ctx context.Context) (*Comm, error) { return sit(ctx, 0) }

// Crowd makes this process all ranks but 0, and returns when rank 0 has closed.
func Crowd(ctx context.Context) error {
	env, _, err := place.FromEnviron()
	if err != nil {
		return err
	}
	errs := make([]error, env.Size)
	var all sync.WaitGroup
	for rank := 1; rank < env.Size; rank++ {
		all.Go(func() {
			c, err := sit(ctx, rank)
			if err == nil {
				err = c.Close()
			}
			errs[rank] = err
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// sit makes this process one rank of the job that its environment names.
func sit(ctx context.Context, rank int) (*Comm, error) {
	env, _, err := place.FromEnviron()
	if err != nil {
		return nil, err
	}
	env.Rank = rank
	role := place.Serve
	if rank == 0 {
		role = place.SPMD
	}
	seat, err := place.TakeAs(ctx, env, role)
	if err != nil {
		return nil, err
	}
	return join(ctx, seat, nil, role, newSettings(nil), registered.freeze("a test"))
}
