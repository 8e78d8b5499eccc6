package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
)

// output takes the ranks' output from the agents' readers to standard output and error, or to files, with labels.
// Agents send whole lines, so lines of different ranks never mix; an unfinished line is passed on as it is, or with
// labels held until it is finished.
type output struct {
	label   Label
	streams [2]*sink // standard output and error
	files   *files   // nil: the streams take everything

	mu     sync.Mutex
	nodeOf []int               // of each rank; guarded by mu
	prefix map[int]string      // label of each rank; guarded by mu
	held   map[streamOf][]byte // unfinished lines; guarded by mu
}

// streamOf is one of the two streams of a rank.
type streamOf struct {
	rank   int
	stream int // 0: standard output, 1: standard error
}

// maxHeld is the longest line that gets one label; a longer one is broken into lines of about that length.
const maxHeld = 64 << 10

// take is given a frame of a node's output. It does not block. A node speaks for its own ranks only.
func (o *output) take(n *node, h frame.Header, payload []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if int64(h.Src) >= int64(len(o.nodeOf)) || o.nodeOf[h.Src] != n.index {
		return fmt.Errorf("agent sent output of rank %d, which does not run there", h.Src)
	}
	of := streamOf{int(h.Src), 0}
	if h.Kind == agent.KindStderr {
		of.stream = 1
	}
	s := o.sink(of)
	if o.label == LabelNone {
		s.add(n.index, len(payload), func(q []byte) []byte { return append(q, payload...) })
	} else {
		s.add(n.index, len(payload), func(q []byte) []byte { return o.labelled(q, of, payload) })
	}
	return nil
}

// labelled appends the whole lines of b with labels, and holds the rest. o.mu is held.
func (o *output) labelled(q []byte, of streamOf, b []byte) []byte {
	prefix := o.prefix[of.rank]
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		held := o.held[of]
		if end < 0 {
			if held = append(held, b...); len(held) >= maxHeld {
				q = append(append(append(q, prefix...), held...), '\n')
				held = held[:0]
			}
			o.held[of] = held
			break
		}
		q = append(append(append(q, prefix...), held...), b[:end+1]...)
		if len(held) > 0 {
			o.held[of] = held[:0]
		}
		b = b[end+1:]
	}
	return q
}

// direct says whether the ranks' standard output needs nothing of the launcher: all ranks are on this machine and nothing is
// to be added. The agent then writes to our output; if it cannot, frames come all the same.
func (j *job) direct() bool {
	if len(j.nodes) != 1 || !j.nodes[0].local || j.Label != LabelNone || j.Output != "" {
		return false
	}
	st, err := j.Stdout.Stat()
	return err == nil && (st.Mode().IsRegular() || st.Mode()&os.ModeNamedPipe != 0)
}

// finish lets go of the unfinished lines of a rank that has ended.
func (o *output) finish(n *node, rank int) {
	if o.label == LabelNone {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for stream := range o.streams {
		of := streamOf{rank, stream}
		if len(o.held[of]) > 0 {
			o.sink(of).add(n.index, 0, func(q []byte) []byte { return o.labelled(q, of, []byte("\n")) })
		}
	}
}

// placed tells where the ranks run, and fixes their labels.
func (o *output) placed(p *Placement) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nodeOf = p.NodeOf
	o.prefix, o.held = make(map[int]string, p.Size()), map[streamOf][]byte{}
	for rank, n := range p.NodeOf {
		if o.label == LabelHost {
			o.prefix[rank] = "[" + p.Hosts[n] + "] "
		} else {
			o.prefix[rank] = "[" + strconv.Itoa(rank) + "] "
		}
	}
}

// extended tells of ranks that have come.
func (o *output) extended(p *Placement) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nodeOf = p.NodeOf
}

func (o *output) sink(of streamOf) *sink {
	if o.files != nil {
		return o.files.of[of.rank]
	}
	return o.streams[of.stream]
}

// sinks is every sink there is.
func (o *output) sinks() []*sink {
	all := o.streams[:]
	if o.files != nil {
		for _, s := range o.files.sinks {
			all = append(all, s)
		}
	}
	return all
}

// close is for when all sinks have ended.
func (o *output) close() {
	if o.files != nil {
		o.files.close()
	}
}

// unwritable is why output cannot be written.
type unwritable struct {
	name string
	err  error
}

// outputBroke is told by sinks, in their goroutines. Somebody takes events until all sinks have ended.
func (j *job) outputBroke(name string, err error) {
	j.events <- event{what: unwritable{name, err}}
}

// cannotWrite takes in that output could not be written, here or by a rank's agent.
func (j *job) cannotWrite(u unwritable) {
	if brokenPipe(u.err) {
		j.condemn(&verdict{status: StatusSignal + int(syscall.SIGPIPE)})
	} else {
		j.condemn(&verdict{status: StatusFailed, text: writeFailure(u.name, u.err)})
	}
}

// brokenPipe says whether the reader of our output has gone, as `head` does.
func brokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// writeFailure says what could not be written.
func writeFailure(name string, err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		if e.Path != "/dev/stdout" && e.Path != "/dev/stderr" {
			name = e.Path
		}
		err = e.Err
	}
	return fmt.Sprintf("cannot write %s: %v", name, err)
}
