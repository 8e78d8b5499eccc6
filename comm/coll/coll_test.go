package coll_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/coll"
	"github.com/pprun/pprun/comm/commtest"
)

var sizes = []int{1, 2, 3, 4, 7, 8, 13}

// everySize runs f as a subtest for several numbers of ranks.
func everySize(t *testing.T, f func(t *testing.T, ctx context.Context, c *comm.Comm)) {
	for _, n := range sizes {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			commtest.Run(t, n, func(ctx context.Context, c *comm.Comm) { f(t, ctx, c) })
		})
	}
}

func concat(a, b string) string { return a + b } // associative, not commutative

func name(rank int) string { return string(rune('a' + rank)) }

func names(n int) string {
	var b strings.Builder
	for rank := range n {
		b.WriteString(name(rank))
	}
	return b.String()
}

func TestBcast(t *testing.T) {
	everySize(t, func(t *testing.T, ctx context.Context, c *comm.Comm) {
		for root := range c.Size() {
			got, err := coll.Bcast(ctx, c, root, map[string][]int{name(c.Rank()): {c.Rank()}})
			if err != nil || len(got) != 1 || !slices.Equal(got[name(root)], []int{root}) {
				t.Errorf("rank %d, root %d: got %v, %v", c.Rank(), root, got, err)
			}
		}
	})
}

func TestGatherScatter(t *testing.T) {
	everySize(t, func(t *testing.T, ctx context.Context, c *comm.Comm) {
		for root := range c.Size() {
			all, err := coll.Gather(ctx, c, root, name(c.Rank()))
			if want := names(c.Size()); err != nil || c.Rank() == root && strings.Join(all, "") != want || c.Rank() != root && all != nil {
				t.Errorf("rank %d, root %d: gathered %v, %v", c.Rank(), root, all, err)
			}
			if c.Rank() != root {
				all = []string{"what others pass does not matter"}
			}
			got, err := coll.Scatter(ctx, c, root, all)
			if err != nil || got != name(c.Rank()) {
				t.Errorf("rank %d, root %d: scattered %q, %v", c.Rank(), root, got, err)
			}
		}
	})
}

func TestReduceInOrderOfRank(t *testing.T) {
	everySize(t, func(t *testing.T, ctx context.Context, c *comm.Comm) {
		for root := range c.Size() {
			want := ""
			if c.Rank() == root {
				want = names(c.Size())
			}
			if got, err := coll.Reduce(ctx, c, root, name(c.Rank()), concat); err != nil || got != want {
				t.Errorf("rank %d, root %d: got %q, %v, want %q", c.Rank(), root, got, err, want)
			}
		}
		if got, err := coll.AllReduce(ctx, c, name(c.Rank()), concat); err != nil || got != names(c.Size()) {
			t.Errorf("rank %d: AllReduce got %q, %v", c.Rank(), got, err)
		}
		if got, err := coll.AllGather(ctx, c, name(c.Rank())); err != nil || strings.Join(got, "") != names(c.Size()) {
			t.Errorf("rank %d: AllGather got %q, %v", c.Rank(), got, err)
		}
	})
}

// TestBarrier counts the ranks that have come: none may leave before all have.
func TestBarrier(t *testing.T) {
	for _, n := range sizes {
		var mu sync.Mutex
		come := 0
		commtest.Run(t, n, func(ctx context.Context, c *comm.Comm) {
			for round := 1; round <= 3; round++ {
				mu.Lock()
				come++
				mu.Unlock()
				if err := coll.Barrier(ctx, c); err != nil {
					t.Errorf("rank %d: %v", c.Rank(), err)
				}
				mu.Lock()
				if come < n*round {
					t.Errorf("rank %d left barrier %d when %d had come to %d", c.Rank(), round, come, n*round)
				}
				mu.Unlock()
			}
		})
	}
}

func TestSendRecv(t *testing.T) {
	everySize(t, func(t *testing.T, ctx context.Context, c *comm.Comm) {
		next, prev := (c.Rank()+1)%c.Size(), (c.Rank()+c.Size()-1)%c.Size()
		big := slices.Repeat([]float64{float64(c.Rank())}, 100_000)
		for tag := range 3 { // the tags are received in another order than they are sent in
			if err := coll.Send(ctx, c, next, tag, big[:len(big)-tag]); err != nil {
				t.Errorf("rank %d: %v", c.Rank(), err)
			}
		}
		for _, tag := range []int{2, 0, 1} {
			got, err := coll.Recv[[]float64](ctx, c, prev, tag)
			if err != nil || len(got) != len(big)-tag || got[0] != float64(prev) {
				t.Errorf("rank %d, tag %d: %d numbers, %v", c.Rank(), tag, len(got), err)
			}
		}
	})
}

// wantErrors runs f on n ranks: each must get an error that holds all of want.
func wantErrors(t *testing.T, n int, want []string, f func(ctx context.Context, c *comm.Comm) error) {
	t.Helper()
	commtest.Run(t, n, func(ctx context.Context, c *comm.Comm) {
		err := f(ctx, c)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("rank %d: error %q, want one with %q", c.Rank(), err, w)
			}
		}
	})
}

func TestRanksDisagree(t *testing.T) {
	t.Run("collective", func(t *testing.T) {
		wantErrors(t, 2, []string{"Gather[int] with root 1 (call 2)", "Bcast[int] with root 0 (call 2)", "the same order"}, func(ctx context.Context, c *comm.Comm) error {
			if err := coll.Barrier(ctx, c); err != nil {
				return err
			}
			if c.Rank() == 0 { // sends, and meets the error at its next call
				if _, err := coll.Gather(ctx, c, 1, 0); err != nil {
					return err
				}
				return coll.Barrier(ctx, c)
			}
			_, err := coll.Bcast(ctx, c, 0, 0)
			if err != nil {
				return err
			}
			return coll.Barrier(ctx, c)
		})
	})
	t.Run("type", func(t *testing.T) {
		wantErrors(t, 3, []string{"AllGather[int]", "AllGather[string]"}, func(ctx context.Context, c *comm.Comm) error {
			var err error
			if c.Rank() == 1 {
				_, err = coll.AllGather(ctx, c, "one")
			} else {
				_, err = coll.AllGather(ctx, c, c.Rank())
			}
			return err
		})
	})
	t.Run("number", func(t *testing.T) {
		wantErrors(t, 5, []string{"Barrier"}, func(ctx context.Context, c *comm.Comm) error {
			if c.Rank() == 3 {
				if _, err := coll.AllReduce(ctx, c, 3, func(a, b int) int { return a + b }); err != nil {
					return err
				}
			}
			for range 2 {
				if err := coll.Barrier(ctx, c); err != nil {
					return err
				}
			}
			return nil
		})
	})
	t.Run("type of a message", func(t *testing.T) {
		wantErrors(t, 1, []string{"Recv from rank 0, tag 5: int was sent, want string"}, func(ctx context.Context, c *comm.Comm) error {
			if err := coll.Send(ctx, c, 0, 5, 1); err != nil {
				return err
			}
			_, err := coll.Recv[string](ctx, c, 0, 5)
			return err
		})
	})
}

func TestBadArguments(t *testing.T) {
	tests := []struct {
		want string
		f    func(ctx context.Context, c *comm.Comm) error
	}{
		{"there are ranks 0 to 1", func(ctx context.Context, c *comm.Comm) error { _, err := coll.Bcast(ctx, c, -1, 0); return err }},
		{"there are ranks 0 to 1", func(ctx context.Context, c *comm.Comm) error { _, err := coll.Gather(ctx, c, 2, 0); return err }},
		{"there are ranks 0 to 1", func(ctx context.Context, c *comm.Comm) error { return coll.Send(ctx, c, 2, 0, 0) }},
		{"tag -1: want 0 to 2147483647", func(ctx context.Context, c *comm.Comm) error { _, err := coll.Recv[int](ctx, c, 0, -1); return err }},
		{"3 elements for 2 ranks", func(ctx context.Context, c *comm.Comm) error {
			_, err := coll.Scatter(ctx, c, 0, make([]int, 3))
			return err
		}},
		{"chan int", func(ctx context.Context, c *comm.Comm) error {
			_, err := coll.AllGather(ctx, c, make(chan int))
			return err
		}},
	}
	for _, test := range tests {
		wantErrors(t, 2, []string{test.want}, test.f)
	}
}

// TestEndOfContext lets one rank give up: the others learn of it instead of waiting for it, and so do later calls.
func TestEndOfContext(t *testing.T) {
	wantErrors(t, 4, []string{"on rank 2", context.Canceled.Error()}, func(ctx context.Context, c *comm.Comm) error {
		if c.Rank() == 2 {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			if err := coll.Barrier(ended, c); !errors.Is(err, context.Canceled) {
				return fmt.Errorf("not the context's error: %w", err)
			}
		} else if coll.Barrier(ctx, c) == nil {
			return errors.New("the barrier let a rank pass")
		}
		return coll.Barrier(ctx, c)
	})
}

var inTask = comm.Register("in_task", func(ctx context.Context, _ int) (bool, error) {
	c, _ := comm.FromContext(ctx)
	return true, coll.Barrier(ctx, c)
})

func TestCollectiveInTask(t *testing.T) {
	commtest.Run(t, 2, func(ctx context.Context, c *comm.Comm) {
		_, err := inTask.Call(ctx, 0)
		if !errors.Is(err, coll.ErrCollectiveInTask) || strings.Count(err.Error(), "coll: ") != 1 {
			t.Errorf("rank %d: %v", c.Rank(), err)
		}
	})
}

// TestInBubble runs ranks where time stands still while anything else can run, and deadlock is noticed.
func TestInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commtest.Run(t, 5, func(ctx context.Context, c *comm.Comm) {
			if got, err := coll.AllReduce(ctx, c, name(c.Rank()), concat); err != nil || got != "abcde" {
				t.Errorf("rank %d: got %q, %v", c.Rank(), got, err)
			}
		})
	})
}

// TestLostServingRank has ranks meet in a collective that one of them does not live to call: none waits for it.
func TestLostServingRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		job := commtest.Start(t, 5)
		errs := make(chan error, 4)
		for _, rank := range []int{0, 1, 3, 4} {
			c := job.Comm(rank)
			go func() { errs <- coll.Barrier(comm.NewContext(t.Context(), c), c) }()
		}
		synctest.Wait()
		job.Kill(2)
		for range 4 {
			if err := <-errs; err == nil || !strings.Contains(err.Error(), "rank 2 (node2) is lost") {
				t.Errorf("got %v", err)
			}
		}
	})
}
