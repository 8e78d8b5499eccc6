// Package coll lets the ranks of a job exchange values directly, in the way of MPI: every rank runs the same code, and
// all of them call the same collectives in the same order.
//
//	c, err := comm.Init(ctx)
//	...
//	sum, err := coll.AllReduce(ctx, c, part, func(a, b float64) float64 { return a + b })
//
// Values are of any type that a registered function may take; the type must be the same on all ranks. A collective that
// does not move a value to a rank returns the zero value there. Where ranks disagree, about which collective it is, its
// root or its type, the rank that sees it gets an error that names both calls, and every rank that waits for it learns of
// it. A collective that failed on a rank, be it that its context ended, cannot be resumed: later ones there fail too.
//
// One goroutine of a rank at a time may be in a collective; Send and Recv are safe for concurrent use. Collectives do not
// belong in a task, since nothing says that all ranks run one: there they return ErrCollectiveInTask.
//
// Messages pass through the hub in rank 0. Trees are binomial (Thakur, Rabenseifner, Gropp: Optimization of Collective
// Communication Operations in MPICH, 2005, section 3): a barrier takes 2 log2(size) steps and 2(size-1) messages.
package coll

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/pprun/pprun/comm"
)

// ErrCollectiveInTask is the error of a collective that is called inside a task.
var ErrCollectiveInTask = errors.New("a collective inside a task: call it from the code that all ranks run, or use Func.OnAll")

func init() { comm.RegisterError(ErrCollectiveInTask) }

// A state counts the collectives of one Comm.
type state struct {
	busy   atomic.Bool // a collective is under way: its goroutine owns the fields below
	seq    uint64      // of the last collective
	failed error       // of the one that failed
}

var states sync.Map // weak.Pointer[comm.Comm] -> *state

func stateOf(c *comm.Comm) *state {
	key := weak.Make(c)
	s, there := states.LoadOrStore(key, new(state))
	if !there {
		runtime.AddCleanup(c, func(key weak.Pointer[comm.Comm]) { states.Delete(key) }, key)
	}
	return s.(*state)
}

// A call is one collective on one rank.
type call struct {
	ctx  context.Context
	c    *comm.Comm
	rank int
	size int
	root int
	seq  uint64
	what string // in words; the same on all ranks
}

// collective runs body as the next collective of c. what is the same on all ranks: see rooted and rootless.
func collective[R any](ctx context.Context, c *comm.Comm, what string, root int, body func(k *call) (R, error)) (r R, err error) {
	if comm.InTask(ctx) {
		return r, fmt.Errorf("coll: %s: %w", what, ErrCollectiveInTask)
	}
	s := stateOf(c)
	if !s.busy.CompareAndSwap(false, true) {
		return r, fmt.Errorf("coll: %s: another collective is under way on rank %d", what, c.Rank())
	}
	defer s.busy.Store(false)
	if s.failed != nil {
		return r, fmt.Errorf("coll: %s: an earlier collective failed: %w", what, s.failed)
	}
	s.seq++
	k := &call{ctx: ctx, c: c, rank: c.Rank(), size: c.Size(), root: root, seq: s.seq, what: what}
	if root < 0 || root >= k.size {
		err = fmt.Errorf("there are ranks 0 to %d", k.size-1)
	} else {
		r, err = body(k)
	}
	if err != nil {
		s.failed = fmt.Errorf("coll: %s (call %d) on rank %d: %w", what, s.seq, k.rank, err)
		k.tellFailure(s.failed)
		var zero R
		return zero, s.failed
	}
	return r, nil
}

// rooted and rootless name a collective over values of type T.
func rooted[T any](name string, root int) string {
	return fmt.Sprintf("%s[%s] with root %d", name, typeName[T](), root)
}

func rootless[T any](name string) string { return fmt.Sprintf("%s[%s]", name, typeName[T]()) }

func typeName[T any]() string { return reflect.TypeFor[T]().String() }
