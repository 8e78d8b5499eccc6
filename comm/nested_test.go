package comm_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pprun/pprun/comm"
)

// A tree is a task that submits others, in one of several ways, and adds up what they return.
type tree struct {
	Seed  uint64
	Depth int
}

// grow says how a tree goes on.
func (t tree) grow() (way int, subs []tree) {
	r := rand.New(rand.NewPCG(t.Seed, uint64(t.Depth)))
	if way = r.IntN(5); t.Depth == 0 {
		return way, nil
	}
	for range r.IntN(4) {
		subs = append(subs, tree{r.Uint64(), t.Depth - 1 - r.IntN(min(t.Depth, 2))})
	}
	return way, subs
}

func (t tree) nodes() int {
	n := 1
	_, subs := t.grow()
	for _, s := range subs {
		n += s.nodes()
	}
	return n
}

var sumTree *comm.Func[tree, int]

func init() {
	sumTree = comm.Register("sum_tree", func(ctx context.Context, t tree) (int, error) {
		sum := 1
		way, list := t.grow()
		switch subs := slices.Values(list); way {
		case 0: // all at once
			var fs []*comm.Future[int]
			for s := range subs {
				fs = append(fs, sumTree.Submit(ctx, s, comm.Priority(t.Depth)))
			}
			rs, err := comm.Gather(ctx, fs...)
			for _, r := range rs {
				sum += r
			}
			return sum, err
		case 1: // one after another
			for s := range subs {
				r, err := sumTree.Call(ctx, s)
				if err != nil {
					return 0, err
				}
				sum += r
			}
		case 2:
			for r, err := range sumTree.Map(ctx, subs, comm.Window(2)) {
				if err != nil {
					return 0, err
				}
				sum += r
			}
		case 3: // in a chunk, whose elements share a slot
			for d := range sumTree.Unordered(ctx, subs, comm.Chunk(3), comm.Group("g")) {
				if d.Err != nil {
					return 0, d.Err
				}
				sum += d.Result
			}
		case 4: // as they are done, on certain ranks
			var fs []*comm.Future[int]
			for s := range subs {
				fs = append(fs, sumTree.Submit(ctx, s, comm.Local()))
			}
			for _, f := range comm.Completed(ctx, fs...) {
				r, err := f.Get(ctx)
				if err != nil {
					return 0, err
				}
				sum += r
			}
		}
		return sum, nil
	})
}

// TestNestedAtRandom has tasks submit tasks that submit tasks, in all ways, with few slots and little room: whatever the
// shape, there is always one that can run.
func TestNestedAtRandom(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		size := 1 + r.IntN(3)
		world(t, size, func(ctx context.Context, c *comm.Comm) error {
			for i := range 5 {
				t := tree{seed<<16 + uint64(c.Rank()<<8+i), 9}
				if n, err := sumTree.Call(ctx, t); n != t.nodes() || err != nil {
					return fmt.Errorf("seed %d: a tree of %d nodes gives %d, %v", seed, t.nodes(), n, err)
				}
			}
			return nil
		}, comm.Slots(1), comm.Limits(3+r.IntN(5), 1<<20))
		if t.Failed() {
			return
		}
	}
}
