package agent

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/scripts/bounded"
)

// speech is a connection to a launcher that has said something and takes everything.
type speech struct{ io.Reader }

func (speech) Write(b []byte) (int, error) { return len(b), nil }
func (speech) Close() error                { return nil }

// FuzzAgent lets a launcher say anything to an agent: it must not panic, nor take a file to other places than its own. What
// would start or signal processes, or open ports, is decoded and checked, and goes no further.
func FuzzAgent(f *testing.F) {
	add := func(frames ...[]byte) { f.Add(bytes.Join(frames, nil)) }
	value := func(h frame.Header, v any) []byte {
		b, err := cbor.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		return frame.Append(nil, h, b)
	}
	hello := value(frame.Header{Kind: KindHello}, Hello{Version: Version, Job: "0123456789abcdef", Host: "here", Node: 1})
	start := value(frame.Header{Kind: KindStart}, Start{Program: Program{Name: "x"}, Size: 3, Nodes: []string{"a", "b"}, NodeOf: []int{0, 1, 1}, Slots: []int{1, 1, 1},
		Ranks: []Rank{{Rank: 1, Stdin: StdinForward}, {Rank: 2, LocalRank: 1}}})
	add(hello, value(frame.Header{Kind: KindStage, ID: 1}, Stage{Program: true, Name: "prog", Digest: strings.Repeat("0a", 32), Size: 9}))
	add(hello, value(frame.Header{Kind: KindListen}, Listen{Addresses: []string{"127.0.0.1", "::1", "x"}}))
	add(hello, start, frame.Append(nil, frame.Header{Kind: KindStdin, Dst: 1}, []byte("input")), frame.Append(nil, frame.Header{Kind: KindStdin, Dst: 1}, nil), frame.Append(nil, frame.Header{Kind: KindOutputCredit, ID: 1 << 20}, nil))
	add(hello, start, value(frame.Header{Kind: KindDeath}, place.Death{Rank: 2, Reason: "x"}), frame.Append(nil, frame.Header{Kind: KindRelayBytes, Src: 1, ID: 1}, []byte("x")), frame.Append(nil, frame.Header{Kind: KindRelayClose, Src: 1, ID: 1}, nil))
	add(hello, frame.Append(nil, frame.Header{Kind: KindStart}, []byte("\xa1\x66NodeOf\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"))) // a bomb
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		a := &agent{conn: NewConn(speech{bytes.NewReader(b)}), stages: map[uint64]*staging{}, credit: newWindow(OutputWindow),
			started: make(chan struct{}), bulletin: newBulletin(), look: make(chan struct{}, 1)}
		a.relays, a.trunk = newRelays(a.conn), newTrunk()
		a.life, a.die = context.WithCancel(t.Context())
		defer a.lost(io.EOF)
		for {
			h, payload, err := a.conn.Next()
			if err != nil || a.hear(t, h, payload) != nil {
				return
			}
		}
	})
}

// hear handles a frame as far as it does nothing outside of the agent.
func (a *agent) hear(t *testing.T, h frame.Header, payload []byte) error {
	switch h.Kind {
	case KindHello:
		hello, err := Decode[Hello](payload)
		if err == nil && validJob(hello.Job) {
			a.hello = hello
			if path := filepath.Join("/tmp", dirPrefix+hello.Job+"-"); filepath.Dir(path) != "/tmp" {
				t.Errorf("job %q", hello.Job)
			}
		}
		return err
	case KindStage:
		s, err := Decode[Stage](payload)
		if err == nil {
			err = s.check()
		}
		if path := filepath.Join("/cache", s.Digest, s.Name); err == nil && (filepath.Dir(filepath.Dir(path)) != "/cache" || filepath.Base(path) != s.Name) {
			t.Errorf("digest %q, name %q", s.Digest, s.Name)
		}
		return err
	case KindListen:
		ask, err := Decode[Listen](payload)
		for _, ip := range addresses(ask.Addresses, nil) {
			if ip.IsUnspecified() {
				t.Errorf("%q is listened on as %v", ask.Addresses, ip)
			}
		}
		return err
	case KindStart:
		_, err := a.announce(payload)
		return err
	case KindSignal, KindSuspend, KindResume, KindKill, KindRespawn, KindRelayOpen, KindBye:
		return nil
	}
	return a.handle(h, payload)
}
