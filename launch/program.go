package launch

import (
	"context"
	"sync"
)

// Stage IDs: the program's, and that of the first further file.
const (
	programID = 1
	filesID   = 2
)

// program is what the job runs, and all that has to be copied for it.
type program struct {
	target
	spools map[uint64]*spool // by stage ID
}

// prepare builds the target if it has to be, and measures what is to be copied: the program to the remote nodes, further
// files to all. found is the target, if it is no source.
func prepare(ctx context.Context, c *Config, found target, remote, all []int) (*program, error) {
	t, err := found, error(nil)
	if t.name == "" {
		t, err = build(ctx, c.Target)
	}
	if err != nil {
		return nil, err
	}
	p := &program{target: t, spools: map[uint64]*spool{}}
	if t.file != "" && len(remote) > 0 {
		if p.spools[programID], err = newSpool(t.file, remote); err != nil {
			p.close()
			return nil, failf(StatusFailed, "%s: %v", t.name, reason(err))
		}
	}
	for i, file := range c.Stage {
		if p.spools[filesID+uint64(i)], err = newSpool(file, all); err != nil {
			delete(p.spools, filesID+uint64(i))
			p.close()
			return nil, failf(StatusUsage, "--stage %s: %v", file, reason(err))
		}
	}
	return p, nil
}

// leave says that a node needs no more of a file.
func (p *program) leave(n *node, id uint64) {
	if s := p.spools[id]; s != nil {
		s.leave(n.index)
	}
}

// leaveAll says that a node needs nothing any more.
func (p *program) leaveAll(n *node) {
	for _, s := range p.spools {
		s.leave(n.index)
	}
}

// close ends all copying and removes what was built.
func (p *program) close() {
	var all sync.WaitGroup
	for _, s := range p.spools {
		all.Go(s.close)
	}
	all.Wait()
	if p.remove != nil {
		p.remove()
	}
}
