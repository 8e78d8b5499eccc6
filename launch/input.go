package launch

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
	"golang.org/x/sys/unix"
)

// input forwards standard input to ranks that cannot inherit it. It sends each of them no more than a window ahead, and
// sees to it that what they do not read is there for who reads next.
type input struct {
	source source
	bell   *bell
	ended  chan struct{} // closed when forward has returned; nil before start

	mu     sync.Mutex // guards what follows
	cond   sync.Cond
	read   map[int]int64 // bytes each rank is known to have read; a rank that reads no more is not in it
	most   int64         // most bytes that any rank has read
	sent   int64         // bytes that each of them was sent
	closed bool
}

// openInput prepares to forward file to ranks.
func openInput(file *os.File, ranks []int) (*input, error) {
	b, err := newBell()
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	s, err := openSource(file, b)
	if err != nil {
		b.close()
		return nil, fmt.Errorf("standard input: %w", err)
	}
	in := &input{source: s, bell: b, read: map[int]int64{}}
	in.cond.L = &in.mu
	for _, rank := range ranks {
		in.read[rank] = 0
	}
	return in, nil
}

// start forwards in a goroutine, which close waits for.
func (in *input) start(nodes []*node, p *Placement) {
	if in == nil {
		return
	}
	in.ended = make(chan struct{})
	go func() {
		defer close(in.ended)
		in.forward(func(rank int, b []byte) {
			nodes[p.NodeOf[rank]].post(message{Header: frame.Header{Kind: agent.KindStdin, Dst: uint32(rank)}, payload: b})
		})
	}()
}

// credit notes what a rank has read, for which it may be sent more.
func (in *input) credit(c credit) {
	if in == nil {
		return
	}
	if c.bytes == 0 { // it has closed its input
		in.leave(c.rank, 0)
		return
	}
	in.mu.Lock()
	if n, ok := in.read[c.rank]; ok {
		in.read[c.rank] = n + int64(c.bytes)
		in.note(n + int64(c.bytes))
	}
	in.mu.Unlock()
	in.wake()
}

// leave takes off a rank that has ended or reads no more, having read so many bytes as far as is known.
func (in *input) leave(rank int, read int64) {
	if in == nil {
		return
	}
	in.mu.Lock()
	delete(in.read, rank)
	in.note(read)
	in.mu.Unlock()
	in.wake()
}

// note is called with mu held.
func (in *input) note(read int64) { in.most = max(in.most, min(read, in.sent)) }

// close ends forwarding.
func (in *input) close() {
	if in == nil {
		return
	}
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	in.wake()
	if in.ended != nil {
		<-in.ended
		in.mu.Lock()
		most := in.most
		in.mu.Unlock()
		in.source.spent(most)
	}
	in.source.close()
	in.bell.close()
}

func (in *input) wake() {
	in.cond.Signal()
	in.bell.ring()
}

// forward copies until the end of the source, or until nobody takes anything any more.
func (in *input) forward(send func(rank int, b []byte)) {
	b := make([]byte, agent.ChunkLen)
	for {
		room, read := in.room()
		if room == 0 {
			return
		}
		in.source.spent(read)
		n, err := in.source.next(b[:room])
		ranks := in.spend(n)
		if n > 0 {
			payload := bytes.Clone(b[:n])
			for _, r := range ranks {
				send(r, payload)
			}
		}
		if err != nil { // the end, or as good as that
			for _, r := range ranks {
				send(r, nil)
			}
			return
		}
	}
}

// room waits until every rank may be sent something, and says how much, 0 when it is over; and how much was read.
func (in *input) room() (n int, read int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		if in.closed || len(in.read) == 0 {
			return 0, 0
		}
		n = agent.ChunkLen
		for _, read := range in.read {
			n = min(n, agent.StdinWindow-int(in.sent-read))
		}
		if n > 0 {
			return n, in.most
		}
		in.cond.Wait()
	}
}

// spend notes what will be sent, and returns to whom.
func (in *input) spend(n int) (ranks []int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.sent += int64(n)
	return slices.Collect(maps.Keys(in.read))
}

// inherits says whether the one rank that gets standard input runs here and can have the descriptor itself.
func (j *job) inherits() bool {
	if !j.readsStdin() || j.StdinTo < 0 {
		return false
	}
	return j.nodes[0].local && (j.StdinTo == 0 || len(j.nodes) == 1)
}

// forwards says whether standard input travels in frames.
func (j *job) forwards() bool { return j.readsStdin() && !j.inherits() }

// stdinRanks are the ranks that get standard input.
func (j *job) stdinRanks() []int {
	switch j.StdinTo {
	case StdinNone:
		return nil
	case StdinAll:
		all := make([]int, j.placement.Size())
		for i := range all {
			all[i] = i
		}
		return all
	}
	return []int{j.StdinTo}
}

// readsStdin says whether there is a standard input to read. In the background a terminal is not ours: reading it would
// stop the job.
func (j *job) readsStdin() bool {
	return j.Stdin != nil && j.StdinTo != StdinNone && !background(j.Stdin)
}

// background says whether f is a terminal that other processes have the foreground of.
func background(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group != unix.Getpgrp()
}
