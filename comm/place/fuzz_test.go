package place

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/scripts/bounded"
)

// pair is two ends of a Unix connection, the second of which has said something and has no more to say.
func pair(t *testing.T, said []byte) (c, other *net.UnixConn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	go func() { ends[1].Write(said); ends[1].CloseWrite() }()
	return ends[0], ends[1]
}

// FuzzLink lets a process say anything to an agent, and an agent anything to a rank: neither panics or holds up the other.
func FuzzLink(f *testing.F) {
	ran, err := cbor.Marshal(Ran{Rank: 1, Tasks: []string{"f"}})
	if err != nil {
		f.Fatal(err)
	}
	for kind, v := range map[frame.Kind]any{
		kindAsk: Ask{Version: Version, Rank: 1, Role: SPMD}, kindDeath: Death{Rank: 2},
		kindPlace: Place{Job: "j", Size: 2, Nodes: []string{"a"}, NodeOf: []int{0, 0}, Slots: []int{1, 1}, Client: &Identity{CA: []byte{1}}},
	} {
		b, err := cbor.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame.Append(frame.Append(nil, frame.Header{Kind: kind}, b), frame.Header{Kind: kindBye}, nil))
		f.Add(frame.Append(frame.Append(nil, frame.Header{Kind: kind}, b), frame.Header{Kind: kindRan}, ran))
	}
	f.Add(frame.Append(nil, frame.Header{Kind: kindRefuse}, []byte("no")))
	f.Add(frame.Append(nil, frame.Header{Kind: kindPlace}, []byte("\xa1\x65Nodes\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"))) // a bomb
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		c, other := pair(t, b)
		if a, err := Accept(c); err == nil {
			a.Wait(News{Relayed: func(string) {}, Orphan: func(string) {}, Joined: func() {}, Missed: func(Missed) {}, Ran: func(Ran) {}})
		}
		other.Close()

		c, other = pair(t, b)
		l := &Link{conn: c, r: frame.NewReader(c, &limits), lost: make(chan struct{})}
		ask := Ask{Version: Version}
		if payload, err := ask.on(c, l.r, kindPlace); err == nil && l.take(payload, nil) == nil {
			l.watch()
		}
		c.Close()
		other.Close()
	})
}
