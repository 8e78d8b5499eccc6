package comm

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// whoRuns returns the rank that it runs on, after a while.
var whoRuns = Register("who_runs", func(ctx context.Context, d time.Duration) (int, error) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	c, _ := FromContext(ctx)
	return c.rank, nil
})

// TestStoppedRank has a rank that is stopped for an hour: it lives, keeps the task that it runs, and nothing else.
func TestStoppedRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := beat(t, 3)
		ctx := NewContext(t.Context(), b.comms[0])
		var fs []*Future[int]
		for range 12 {
			fs = append(fs, whoRuns.Submit(ctx, 50*time.Millisecond)) // no time for the rank itself to give any back
		}
		time.Sleep(time.Millisecond)
		b.up[1].Store(true) // it is as silent as if its process were stopped
		b.Stop(1, true)
		if n := b.runsOn(1); n != 1 {
			t.Errorf("rank 1 keeps %d tasks, want 1", n)
		}
		ended := func() (n int) {
			for _, f := range fs {
				if f.isDone() {
					n++
				}
			}
			return n
		}
		time.Sleep(time.Hour)
		if n := ended(); n != 11 {
			t.Errorf("%d tasks have ended, want all but that of the stopped rank", n)
		}
		if why := b.lost(1); why != "" {
			t.Errorf("rank 1 is lost: %s", why)
		}
		if text := b.comms[0].Explain(); !strings.Contains(text, "rank 1 (node1) is stopped; what it may have begun waits for it: 1 of who_runs") {
			t.Errorf("Explain says\n%s", text)
		}
		alone := whoRuns.With(OnRanks(1)).Submit(ctx, 0)
		time.Sleep(time.Minute)
		if alone.isDone() {
			t.Error("a stopped rank has run a task")
		}
		b.up[1].Store(false)
		b.Stop(1, false)
		if rank, err := alone.Get(ctx); rank != 1 || err != nil {
			t.Errorf("the task that waited for rank 1: %d, %v", rank, err)
		}
		b.Kill(1) // the result of its task was sent while nothing got through
		for _, f := range fs {
			if _, err := f.Get(ctx); err != nil {
				t.Error(err)
			}
		}
		b.end(t)
	})
}

// TestMissedRank has a rank fall silent for less than the timeout: it is not lost, and its results come late.
func TestMissedRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := beat(t, 2)
		ctx := NewContext(t.Context(), b.comms[0])
		time.Sleep(time.Minute)
		b.up[1].Store(true)
		time.Sleep(testTimeout / 2)
		fs := []*Future[int]{whoRuns.Submit(ctx, time.Second), whoRuns.Submit(ctx, time.Second)}
		for _, f := range fs {
			if rank, err := f.Get(ctx); rank != 0 || err != nil {
				t.Errorf("a task ran on rank %d, %v, want 0: nothing is heard of rank 1", rank, err)
			}
		}
		if text := b.comms[0].Explain(); !strings.Contains(text, "nothing is heard of rank 1 (node1)\n") {
			t.Errorf("Explain says\n%s", text)
		}
		b.up[1].Store(false)
		time.Sleep(testTimeout)
		if why := b.lost(1); why != "" {
			t.Errorf("rank 1 is lost: %s", why)
		}
		if rank, err := whoRuns.With(OnRanks(1)).Call(ctx, 0); rank != 1 || err != nil {
			t.Errorf("once it is heard again: %d, %v", rank, err)
		}
		b.end(t)
	})
}

// TestStoppedHub has rank 0 be stopped for an hour: the others wait for it.
func TestStoppedHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := beat(t, 3)
		time.Sleep(time.Minute)
		b.Stop(0, true)
		cut := func(is bool) {
			for rank := 1; rank < 3; rank++ {
				b.down[rank].Store(is)
			}
		}
		cut(true)
		time.Sleep(time.Hour)
		cut(false)
		b.Stop(0, false)
		time.Sleep(time.Hour)
		for rank := 1; rank < 3; rank++ {
			select {
			case <-b.comms[rank].broken:
				t.Errorf("rank %d: %v", rank, b.comms[rank].err)
			default:
			}
		}
		b.end(t)
	})
}

// runsOn returns how many tasks a rank has.
func (b *beating) runsOn(rank int) int {
	h := b.door.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.members[rank].runs.len()
}

func (f *Future[R]) isDone() bool {
	select {
	case <-f.Done():
		return true
	default:
		return false
	}
}
