package launch

import (
	"path/filepath"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
)

// stage brings program and files to the nodes that lack them.
func (j *job) stage() bool {
	if !j.until(func() bool { return j.program != nil }) {
		return false
	}
	for _, n := range j.nodes {
		if len(n.ranks) == 0 {
			j.program.leaveAll(n)
		}
	}
	if !j.fit() {
		return false
	}
	for _, n := range j.members() {
		j.offerFiles(n)
	}
	return j.all(func(n *node) bool { return n.staged == len(j.copies(n)) })
}

// offerFiles tells a node what is to be copied to it.
func (j *job) offerFiles(n *node) {
	libraries := extraValue(j.Env, "LD_LIBRARY_PATH")
	for id, s := range j.copies(n) {
		name := j.program.name
		if id == programID {
			n.size = s.size
		} else {
			name = j.Stage[id-filesID]
		}
		n.sendValue(agent.KindStage, id, agent.Stage{
			Program: id == programID, Name: filepath.Base(name), Digest: s.digest, Size: s.size, Mode: uint32(s.mode), Libraries: libraries,
		})
	}
}

// unreadable is why a file that is to be copied cannot be.
type unreadable struct{ err error }

// cannotCopy takes in that a file could not be read to be copied to a node.
func (j *job) cannotCopy(n *node, err error) {
	switch {
	case err == errLeft:
	case n.late != nil:
		n.failed = err.Error()
	default:
		j.fail(err)
	}
}

// stream sends a node the file it wants, in a goroutine of its own: a slow node holds up only itself.
func (j *job) stream(n *node, id uint64) {
	s := j.copies(n)[id]
	if s == nil {
		return
	}
	n.work.Go(func() {
		defer s.leave(n.index)
		for more := true; more; {
			var c chunk
			var err error
			if c, more, err = s.next(n.index); err != nil {
				j.events <- event{n, unreadable{err}}
				return
			}
			h := frame.Header{Kind: agent.KindChunk, ID: id}
			if more {
				h.Flags = frame.More
			}
			if n.conn.Send(h, c.data) != nil {
				return // the reader says why
			}
			n.copied.Store(c.upTo)
			j.sent.Add(int64(len(c.data)))
		}
	})
}
