package launch

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
)

func TestLabels(t *testing.T) {
	long := strings.Repeat("x", maxHeld)
	for _, c := range []struct {
		name   string
		label  Label
		frames []string // rank, then what it wrote
		want   string
	}{
		{"whole lines", LabelRank, []string{"0a\nb\n", "1c\n"}, "[0] a\n[0] b\n[1] c\n"},
		{"begun lines wait", LabelRank, []string{"0a", "1b\n", "0c\n"}, "[1] b\n[0] ac\n"},
		{"tails", LabelRank, []string{"0a\nb", "1c"}, "[0] a\n[0] b\n[1] c\n"},
		{"empty lines", LabelRank, []string{"0\n\n"}, "[0] \n[0] \n"},
		{"hosts", LabelHost, []string{"1a\n"}, "[beta] a\n"},
		{"none", LabelNone, []string{"0a", "1b\n", "0c"}, "ab\nc"},
		{"very long line", LabelRank, []string{"0" + long, "0y\n"}, "[0] " + long + "\n[0] y\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got bytes.Buffer
			o := &output{label: c.label}
			paid := 0
			o.streams[0] = newSink(&got, func(_, n int) { paid += n }, func(err error) { t.Error(err) })
			o.streams[1] = newSink(io.Discard, func(_, n int) {}, func(err error) { t.Error(err) })
			p := &Placement{Hosts: []string{"alpha", "beta"}, NodeOf: []int{0, 1}}
			o.placed(p)
			n, owed := &node{}, 0
			for _, f := range c.frames {
				n.index = int(f[0] - '0')
				if err := o.take(n, frame.Header{Kind: agent.KindStdout, Src: uint32(f[0] - '0')}, []byte(f[1:])); err != nil {
					t.Error(err)
				}
				owed += len(f) - 1
			}
			o.finish(n, 0)
			o.finish(n, 1)
			for _, s := range o.streams {
				<-s.close()
			}
			if got.String() != c.want {
				t.Errorf("got %q, want %q", got.String(), c.want)
			}
			if paid != owed {
				t.Errorf("credit for %d bytes given back, want %d", paid, owed)
			}
		})
	}
}

func TestFileName(t *testing.T) {
	for pattern, want := range map[string]string{"out": "out", "%r.%h": "3.node1", "%%r": "%r", "%x%r%": "%x3%"} {
		if got := fileName(pattern, 3, "node1"); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
}

type failing struct{ writes int }

func (f *failing) Write([]byte) (int, error) { f.writes++; return 0, errors.New("full") }

// After an error a sink swallows what comes, and still pays: the ranks must not block.
func TestSinkGoesOnAfterAnError(t *testing.T) {
	f := &failing{}
	failures, paid := 0, 0
	s := newSink(f, func(_, n int) { paid += n }, func(error) { failures++ })
	for range 3 {
		s.add(0, 5, func(q []byte) []byte { return append(q, "hello"...) })
	}
	<-s.close()
	if failures != 1 || f.writes != 1 || paid != 15 {
		t.Errorf("%d failures, %d writes, %d bytes paid", failures, f.writes, paid)
	}
}

func TestOwnWordsStandOnTheirOwnLine(t *testing.T) {
	var got bytes.Buffer
	s := newSink(&got, func(_, _ int) {}, func(err error) { t.Error(err) })
	s.add(0, 3, func(q []byte) []byte { return append(q, "a\nb"...) })
	s.say("pprun: c")
	s.say("pprun: d")
	<-s.close()
	if want := "a\nb\npprun: c\npprun: d\n"; got.String() != want {
		t.Errorf("%q, want %q", got.String(), want)
	}
}
