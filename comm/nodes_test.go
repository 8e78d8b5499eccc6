package comm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// extensible is the launcher of a testbed: a node that is added has two ranks. They serve as under Main.
type extensible struct {
	bed    *Testbed
	served []chan error
}

func extend(t *testing.T, size int) *extensible {
	b, err := NewTestbed(t.Context(), size, pipe)
	if err != nil {
		t.Fatal(err)
	}
	x := &extensible{bed: b}
	b.comms[0].launched = x
	for rank := 1; rank < size; rank++ {
		x.serve(rank)
	}
	return x
}

func (x *extensible) serve(rank int) {
	served, c := make(chan error, 1), x.bed.comms[rank]
	go func() { served <- c.Close() }()
	x.served = append(x.served, served)
}

func (x *extensible) AddNodes(_ context.Context, names []string, grow func(place.Growth)) error {
	p := &x.bed.place
	for _, name := range names {
		if name == "nowhere" {
			return errors.New("nowhere: is not there")
		}
		first := p.Size
		p.Nodes = append(slices.Clone(p.Nodes), name)
		for range 2 {
			p.NodeOf, p.Slots = append(slices.Clone(p.NodeOf), len(p.Nodes)-1), append(slices.Clone(p.Slots), 1)
		}
		p.Size += 2
		x.bed.comms = append(x.bed.comms, nil, nil)
		grow(place.Growth{Nodes: p.Nodes, NodeOf: p.NodeOf, Slots: p.Slots})
		for rank := first; rank < p.Size; rank++ {
			if name == "stillborn" {
				x.bed.GiveUp(rank)
				continue
			}
			if err := x.bed.join(rank, 1); err != nil {
				return err
			}
			x.serve(rank)
		}
	}
	return nil
}

func (x *extensible) RemoveNode(context.Context, int) error { return nil }
func (x *extensible) Env() place.Env                        { return place.Env{} }
func (x *extensible) Failed() <-chan struct{}               { return nil }
func (x *extensible) End(error) error                       { return nil }

// close closes the job, which wants all ranks to leave in order.
func (x *extensible) close(t *testing.T) {
	t.Helper()
	if err := x.bed.comms[0].Close(); err != nil {
		t.Error(err)
	}
	for i, served := range x.served {
		if err := <-served; err != nil {
			t.Errorf("rank that came as number %d: %v", i+1, err)
		}
	}
}

// attemptOf returns how often the task was begun before, and the rank that it runs on.
var attemptOf = Register("attempt_of", func(ctx context.Context, _ int) ([2]int, error) {
	c, _ := FromContext(ctx)
	return [2]int{Attempt(ctx), c.rank}, nil
})

// Nodes come and go while tasks run, each of which runs once.
func TestNodesComeAndGo(t *testing.T) {
	x := extend(t, 2)
	c := x.bed.comms[0]
	ctx, stop := context.WithCancel(NewContext(t.Context(), c))
	type tally struct {
		tasks int
		ranks map[int]bool
		err   error
	}
	counted := make(chan tally)
	go func() {
		all := tally{ranks: map[int]bool{}}
		endless := func(yield func(int) bool) {
			for ctx.Err() == nil && yield(0) {
			}
		}
		for r, err := range attemptOf.Map(NewContext(context.Background(), c), endless) {
			if err == nil && r[0] > 0 {
				err = fmt.Errorf("a task ran again on rank %d", r[1])
			}
			if all.err = err; err != nil {
				break
			}
			all.tasks++
			all.ranks[r[1]] = true
		}
		counted <- all
	}()
	for i := range 5 {
		name := fmt.Sprint("added", i)
		if err := c.AddNodes(ctx, name); err != nil {
			t.Fatal(err)
		}
		first := 2 + 2*i
		if n := c.Size(); n != first+2 {
			t.Errorf("%d ranks", n)
		}
		if r, err := whoRuns.With(OnNode(name)).Call(ctx, time.Millisecond); r < first || err != nil {
			t.Errorf("a task for %s: rank %d, %v", name, r, err)
		}
		if all, err := attemptOf.OnAll(ctx, 0); err != nil || len(all) != first+2 || all[1][1] != 1 || all[first+1][1] != first+1 || i > 0 && all[2][1] != 0 {
			t.Errorf("OnAll: %v, %v", all, err)
		}
		held := whoRuns.With(OnRanks(first)).Submit(ctx, 20*time.Millisecond)
		if err := c.RemoveNode(ctx, name); err != nil {
			t.Fatal(err)
		}
		if r, err := held.Get(ctx); r != first || err != nil {
			t.Errorf("the task that rank %d had: %d, %v", first, r, err)
		}
		if nodes := c.Nodes(); len(nodes) != 2 || c.Slots() != 2 {
			t.Errorf("%d slots, nodes: %v", c.Slots(), nodes)
		}
		var lost *LostError
		if _, err := whoRuns.With(OnRanks(first)).Call(ctx, 0); !errors.As(err, &lost) || !strings.HasPrefix(lost.Reason, removed) {
			t.Errorf("a task for rank %d: %v", first, err)
		}
	}
	stop()
	if all := <-counted; all.err != nil || len(all.ranks) < 3 {
		t.Errorf("%d tasks on ranks %v: %v", all.tasks, all.ranks, all.err)
	}
	x.close(t)
}

// What cannot be changed, and what does not come.
func TestNodesRefused(t *testing.T) {
	x := extend(t, 2)
	c, ctx := x.bed.comms[0], t.Context()
	for _, e := range []struct {
		err  error
		want string
	}{
		{c.AddNodes(ctx, "here", "nowhere"), `comm: AddNodes(["here" "nowhere"]): nowhere: is not there`},
		{c.AddNodes(ctx, "stillborn"), "comm: AddNodes([\"stillborn\"]): rank 4 (stillborn) is lost: it has not come yet\ncomm: rank 5 (stillborn) is lost: it has not come yet"},
		{c.RemoveNode(ctx, "node0"), `comm: RemoveNode("node0"): rank 0 is there`},
		{c.RemoveNode(ctx, "nowhere"), `comm: RemoveNode("nowhere"): the nodes are node0, node1, here, stillborn`},
		{x.bed.comms[1].RemoveNode(ctx, "node0"), `comm: RemoveNode("node0"): this is rank 1: only rank 0 may`},
		{c.RemoveNode(ctx, "stillborn"), ``},
		{c.RemoveNode(ctx, "stillborn"), `comm: RemoveNode("stillborn"): the nodes are node0, node1, here`},
	} {
		if text := fmt.Sprint(e.err); text != e.want && !(e.err == nil && e.want == "") {
			t.Errorf("%s, want %s", text, e.want)
		}
	}
	// A rank that is lost while it drains has its task redone elsewhere.
	task := whoRuns.Submit(NewContext(ctx, c), time.Hour, OnRanks(2, 3))
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := c.RemoveNode(short, "here"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("RemoveNode of a busy node: %v", err)
	}
	task.Cancel()
	if err := c.RemoveNode(ctx, "here"); err != nil {
		t.Error(err)
	}
	c.launched = nil
	if err := c.AddNodes(ctx, "here"); err == nil || !strings.Contains(err.Error(), "use comm.Via") {
		t.Error(err)
	}
	x.close(t)
}
