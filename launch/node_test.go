package launch

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/scripts/bounded"
)

// speech is a connection to an agent that has said something and takes everything.
type speech struct{ io.Reader }

func (speech) Write(b []byte) (int, error) { return len(b), nil }
func (speech) Close() error                { return nil }

// hear takes in what the agent of the second of two nodes says, ranks 2 and 3 of which run there, and returns the output and
// the events.
func hear(b []byte) (shown string, events []any) {
	var out bytes.Buffer
	o := &output{label: LabelRank}
	for i := range o.streams {
		o.streams[i] = newSink(&out, func(_, _ int) {}, func(error) {})
		if i > 0 {
			o.streams[i] = o.streams[0]
		}
	}
	p := &Placement{Hosts: []string{"a", "b"}, NodeOf: []int{0, 0, 1, 1}}
	o.placed(p)
	nodes := []*node{{index: 0, host: hostfile.Node{Host: "a"}}, {index: 1, host: hostfile.Node{Host: "b"}}}
	var x exchange
	x.open(nodes)
	n := nodes[1]
	n.conn, n.closed = agent.NewConn(speech{bytes.NewReader(b)}), make(chan struct{})
	c := make(chan event)
	go func() { defer close(c); n.read(o, &x, c) }()
	for e := range c {
		events = append(events, e.what)
	}
	<-o.streams[0].close()
	return out.String(), events
}

// A node's agent speaks for the ranks of its node only.
func TestOutputOfOthersIsRefused(t *testing.T) {
	for _, c := range []struct {
		rank        uint32
		shown, lost string
	}{
		{2, "[2] x\n", "EOF"},
		{1, "", "agent sent output of rank 1, which does not run there"},
		{4, "", "agent sent output of rank 4, which does not run there"},
		{1<<32 - 1, "", "agent sent output of rank 4294967295, which does not run there"},
	} {
		shown, events := hear(frame.Append(nil, frame.Header{Kind: agent.KindStderr, Src: c.rank}, []byte("x\n")))
		last, ok := events[len(events)-1].(lost)
		if shown != c.shown || !ok || last.err.Error() != c.lost {
			t.Errorf("rank %d: shown %q, events %v", c.rank, shown, events)
		}
	}
}

// What an agent says is one line, so that none begins as pprun's own do.
func TestNodesWordsAreFolded(t *testing.T) {
	const words = "x\npprun: rank 0: \r\x1b[2Jall is well\u2028pprun: "
	const folded = "x pprun: rank 0:   [2Jall is well pprun: "
	for kind, v := range map[frame.Kind]any{
		agent.KindReady: agent.Ready{Release: words}, agent.KindStaged: agent.Staged{Path: words}, agent.KindListening: agent.Listening{Addresses: []string{words}},
		agent.KindFailure: agent.Failure{Text: words}, agent.KindRespawned: agent.Respawned{Failure: words}, agent.KindRan: place.Ran{Tasks: []string{words}}, agent.KindDone: agent.Done{Such: words},
		agent.KindNote: nil, agent.KindRelayed: nil,
	} {
		b := []byte(words)
		if v != nil {
			var err error
			if b, err = cbor.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		if _, events := hear(frame.Append(nil, frame.Header{Kind: kind}, b)); !strings.Contains(fmt.Sprintf("%+v", events[0]), folded) {
			t.Errorf("kind %d: %+v", kind, events[0])
		}
	}
}

// FuzzNode lets an agent say anything to the launcher: its ranks' lines have their own labels, and the last event is the end.
func FuzzNode(f *testing.F) {
	for kind, v := range map[frame.Kind]any{
		agent.KindReady: agent.Ready{Version: 1, PublicKey: []byte{1}}, agent.KindStarted: agent.Started{PIDs: []int{1, 2}},
		agent.KindStaged: agent.Staged{Path: "/x"}, agent.KindListening: agent.Listening{Addresses: []string{"1.2.3.4:5"}},
		agent.KindExit: agent.Exit{Rank: 2, Stderr: []byte("x")}, agent.KindFailure: agent.Failure{Phase: "start"}, agent.KindRespawned: agent.Respawned{Rank: 3},
	} {
		b, err := cbor.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame.Append(nil, frame.Header{Kind: kind, ID: 1}, b))
	}
	f.Add(frame.Append(frame.Append(nil, frame.Header{Kind: agent.KindStdout, Src: 2}, []byte("a\nb")), frame.Header{Kind: agent.KindStderr, Src: 3}, []byte("\r[0] c\n")))
	f.Add(frame.Append(nil, frame.Header{Kind: agent.KindRelayBytes, Src: 1, ID: 7}, []byte("x")))
	f.Add(frame.Append(nil, frame.Header{Kind: agent.KindStarted}, []byte("\xa1\x64PIDs\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"))) // a bomb
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		shown, events := hear(b)
		if _, ok := events[len(events)-1].(lost); !ok {
			t.Errorf("the last event is %v", events[len(events)-1])
		}
		for line := range strings.Lines(shown) {
			if !strings.HasPrefix(line, "[2] ") && !strings.HasPrefix(line, "[3] ") {
				t.Errorf("a line of another's: %q", line)
			}
		}
	})
}
