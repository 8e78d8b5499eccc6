package launch

import (
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
	"golang.org/x/sys/unix"
)

// input forwards standard input to ranks that cannot inherit it. It never reads more than each of them may be sent, and
// what a regular file has beyond that is there for who reads it next.
type input struct {
	file   *os.File
	begin  int64    // offset at the start; -1: file cannot be wound back
	sent   int64    // bytes read; owned by forward
	wakeR  *os.File // readable once close was called
	wakeW  *os.File
	ended  chan struct{} // closed when forward has returned; nil before start
	mu     sync.Mutex
	cond   sync.Cond
	window map[int]int // bytes each rank may be sent, guarded by mu; a rank that reads no more is not in it
	read   int64       // most bytes that a rank took, which has ended; guarded by mu
	closed bool        // guarded by mu
}

// openInput prepares to forward file to ranks.
func openInput(file *os.File, ranks []int) (*input, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	in := &input{file: file, begin: offset(file), wakeR: r, wakeW: w, window: map[int]int{}}
	in.cond.L = &in.mu
	for _, rank := range ranks {
		in.window[rank] = agent.StdinWindow
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

// credit lets a rank be sent more.
func (in *input) credit(c credit) {
	if in == nil {
		return
	}
	if c.bytes == 0 { // it has closed its input
		in.leave(c.rank, 0)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if n, ok := in.window[c.rank]; ok {
		in.window[c.rank] = n + c.bytes
	}
	in.cond.Signal()
}

// leave takes off a rank that has ended or reads no more, having read so many bytes as far as is known.
func (in *input) leave(rank int, read int64) {
	if in == nil {
		return
	}
	in.mu.Lock()
	delete(in.window, rank)
	in.read = max(in.read, read)
	last := len(in.window) == 0
	in.mu.Unlock()
	in.cond.Signal()
	if last {
		in.wake()
	}
}

// close ends forwarding. A file is left at the first byte that no rank has read.
func (in *input) close() {
	if in == nil {
		return
	}
	in.wake()
	if in.ended != nil {
		<-in.ended
		if in.begin >= 0 && in.read < in.sent {
			in.file.Seek(in.begin+in.read, io.SeekStart)
		}
	}
	in.wakeR.Close()
	in.wakeW.Close()
}

// offset is where a regular file is read next, -1 for other files.
func offset(f *os.File) int64 {
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return -1
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return -1
	}
	return at
}

func (in *input) wake() {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	in.cond.Signal()
	in.wakeW.Write([]byte{0})
}

// forward copies until the end of the file, or until nobody takes anything any more.
func (in *input) forward(send func(rank int, b []byte)) {
	for {
		ranks, n := in.room()
		if n == 0 || !in.readable() {
			return
		}
		b := make([]byte, min(n, agent.ChunkLen))
		n, err := in.file.Read(b)
		if n > 0 {
			in.sent += int64(n)
			in.spend(ranks, n)
			for _, r := range ranks {
				send(r, b[:n])
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

// room waits until every rank may be sent something, and says how much; 0: it is over.
func (in *input) room() (ranks []int, n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		if in.closed || len(in.window) == 0 {
			return nil, 0
		}
		n = agent.ChunkLen
		for _, w := range in.window {
			n = min(n, w)
		}
		if n > 0 {
			return slices.Collect(maps.Keys(in.window)), n
		}
		in.cond.Wait()
	}
}

func (in *input) spend(ranks []int, n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, r := range ranks {
		if w, ok := in.window[r]; ok {
			in.window[r] = w - n
		}
	}
}

// readable waits until reading would not block; false: wake was called. Reading straight away would take what the next
// program on this terminal or pipe is meant to get.
func (in *input) readable() bool {
	fds := []unix.PollFd{
		{Fd: int32(in.file.Fd()), Events: unix.POLLIN},
		{Fd: int32(in.wakeR.Fd()), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return false
		}
		return fds[1].Revents == 0
	}
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
