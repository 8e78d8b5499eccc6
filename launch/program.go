package launch

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
)

// Stage IDs: the program's, and that of the first further file.
const (
	programID = 1
	filesID   = 2
)

// program is what the job runs, and all that has to be copied for it.
type program struct {
	variant                       // for this platform, or the one that was named
	others  map[platform]*variant // for other platforms
	files   map[uint64]*spool     // further files, by stage ID
	late    []*spool              // for nodes that come late
}

// variant is the program as nodes of one platform run it.
type variant struct {
	target
	spool *spool // nil: nothing is copied
}

// prepare builds the target if it has to be, and measures what is to be copied: the program to the remote nodes, further
// files to all. found is the target, if it is no source.
func prepare(ctx context.Context, c *Config, found target, remote, all []int) (*program, error) {
	t, err := found, error(nil)
	if t.name == "" {
		t, err = build(ctx, c.Target, ownPlatform)
	}
	if err != nil {
		return nil, err
	}
	v, err := newVariant(t, remote)
	if err != nil {
		return nil, err
	}
	p := &program{variant: *v, others: map[platform]*variant{}, files: map[uint64]*spool{}}
	for i, file := range c.Stage {
		s, err := newSpool(file, all)
		if err != nil {
			p.close()
			return nil, failf(StatusUsage, "--stage %s: %v", file, reason(err))
		}
		p.files[filesID+uint64(i)] = s
	}
	return p, nil
}

// newVariant measures a target that is to be copied to the remote nodes. It is removed if that fails.
func newVariant(t target, remote []int) (*variant, error) {
	v := &variant{target: t}
	if t.file == "" || len(remote) == 0 {
		return v, nil
	}
	var err error
	if v.spool, err = newSpool(t.file, remote); err != nil {
		v.close()
		return nil, failf(StatusFailed, "%s: %v", t.name, reason(err))
	}
	return v, nil
}

// adapt makes the program that nodes of another platform run: a file that is given for it, or one built from the source.
func adapt(ctx context.Context, c *Config, p platform, remote []int) (*variant, error) {
	t, err := target{}, error(nil)
	if file, ok := c.Bin[p.String()]; ok {
		t, err = findBin(p, file)
	} else {
		t, err = build(ctx, c.Target, p)
	}
	if err != nil {
		return nil, err
	}
	t.name = c.Target
	return newVariant(t, remote)
}

// findBin finds the program that --bin names for a platform.
func findBin(p platform, file string) (target, error) {
	flag := fmt.Sprintf("--bin %v=%s", p, file)
	path, err := filepath.Abs(file) // a bare name would be one for PATH
	if err != nil {
		return target{}, err
	}
	t, err := findTarget(&Config{Target: path})
	if f, ok := err.(*failure); ok {
		return target{}, failf(f.status, "--bin %v=%s", p, f.text)
	}
	if err == nil && !t.header.fits(p) {
		err = failf(StatusUsage, "%s: is built for %s/%s", flag, t.header.OS, t.header.Arch)
	}
	return t, err
}

// variants are all that there are.
func (p *program) variants() []*variant {
	return append(slices.Collect(maps.Values(p.others)), &p.variant)
}

// spools are those of all that is copied.
func (p *program) spools() []*spool {
	all := slices.AppendSeq(slices.Clone(p.late), maps.Values(p.files))
	for _, v := range p.variants() {
		if v.spool != nil {
			all = append(all, v.spool)
		}
	}
	return all
}

// leaveAll says that a node needs nothing any more.
func (p *program) leaveAll(n *node) {
	for _, s := range p.spools() {
		s.leave(n.index)
	}
}

// close ends all copying and removes what was built.
func (p *program) close() {
	var all sync.WaitGroup
	for _, s := range p.late {
		all.Go(s.close)
	}
	for _, s := range p.files {
		all.Go(s.close)
	}
	for _, v := range p.variants() {
		all.Go(v.close)
	}
	all.Wait()
}

func (v *variant) close() {
	if v.spool != nil {
		v.spool.close()
	}
	if v.remove != nil {
		v.remove()
	}
}
