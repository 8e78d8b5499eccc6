package commtest_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/commtest"
)

var (
	naps = comm.Register("naps", func(ctx context.Context, d time.Duration) (time.Duration, error) {
		select {
		case <-time.After(d):
			return d, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})
	whereAmI = comm.Register("where_am_i", func(ctx context.Context, d time.Duration) (int, error) {
		time.Sleep(d)
		c, _ := comm.FromContext(ctx)
		return c.Rank(), nil
	})
	napsInside = comm.Register("naps_inside", func(ctx context.Context, d time.Duration) (time.Duration, error) {
		return naps.Call(ctx, d)
	})
)

// bubble runs a test where time passes only while all wait.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// TestKilledRankIsMissed has tasks that were on a rank run elsewhere.
func TestKilledRankIsMissed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		job := commtest.Start(t, 3, comm.Slots(1))
		ctx := job.Context()
		var fs []*comm.Future[int]
		for range 6 {
			fs = append(fs, whereAmI.Submit(ctx, time.Minute))
		}
		synctest.Wait()
		job.Kill(2)
		if n := job.Comm(0).Slots(); n != 2 {
			t.Errorf("%d slots without rank 2, want 2", n)
		}
		ranks, err := comm.Gather(ctx, fs...)
		if err != nil || slices.Contains(ranks, 2) {
			t.Errorf("tasks ran on %v, %v", ranks, err)
		}
		job.Restart(2)
		if n := job.Comm(0).Slots(); n != 3 {
			t.Errorf("%d slots with rank 2 back, want 3", n)
		}
		ranks, err = whereAmI.OnAll(ctx, 0)
		if err != nil || !slices.Equal(ranks, []int{0, 1, 2}) {
			t.Errorf("on all ranks: %v, %v", ranks, err)
		}
	})
}

// TestOnlyRank has tasks for one rank wait for it to come back, and fail once it will not.
func TestOnlyRank(t *testing.T) {
	bubble(t, func(t *testing.T) {
		job := commtest.Start(t, 2)
		ctx := job.Context()
		job.Kill(1)
		all := func() ([]int, error) { return whereAmI.OnAll(ctx, 0) }
		done := make(chan error, 1)
		go func() { _, err := all(); done <- err }()
		synctest.Wait()
		job.Restart(1)
		if err := <-done; err != nil {
			t.Errorf("once the rank was back: %v", err)
		}
		job.Kill(1)
		go func() { _, err := all(); done <- err }()
		synctest.Wait()
		job.GiveUp(1)
		for range 2 {
			var lost *comm.LostError
			if err := <-done; !errors.As(err, &lost) || lost.Rank != 1 || !strings.Contains(err.Error(), "no rank is left that may run the task") {
				t.Errorf("once the rank was given up: %v", err)
			}
			_, err := all() // now it fails at once
			done <- err
		}
		job.Restart(1)
		if _, err := all(); err != nil {
			t.Errorf("once the rank was back after all: %v", err)
		}
	})
}

// TestMaxLost has a task that ends every rank it runs on: it fails, and the tasks that wait beside it do not.
func TestMaxLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		job := commtest.Start(t, 2, comm.Slots(1))
		ctx := job.Context()
		done := make(chan error, 1)
		go func() { _, err := poison.OnAll(ctx, time.Hour); done <- err }()
		synctest.Wait() // it is on rank 1
		var beside []*comm.Future[time.Duration]
		for range 20 {
			beside = append(beside, naps.Submit(ctx, time.Second))
		}
		for range 2 {
			synctest.Wait()
			job.Restart(1)
		}
		select {
		case err := <-done:
			t.Fatalf("after the loss of two ranks: %v", err)
		default:
		}
		synctest.Wait()
		job.Restart(1)
		err := <-done
		var lost *comm.LostError
		if !errors.As(err, &lost) || len(lost.Attempts) != 3 {
			t.Fatalf("after the loss of three ranks: %v", err)
		}
		for _, a := range lost.Attempts {
			if want := (comm.LostRun{Rank: 1, Node: "node1", Reason: "it ended, or its link was cut"}); a != want {
				t.Errorf("an attempt is %+v, want %+v", a, want)
			}
		}
		if _, err := comm.Gather(ctx, beside...); err != nil {
			t.Errorf("of the tasks beside: %v", err)
		}
	})
}

var poison = comm.Register("poison", func(ctx context.Context, d time.Duration) (int, error) {
	if c, _ := comm.FromContext(ctx); c.Rank() == 0 {
		return 0, nil
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return 0, ctx.Err()
})

// TestFaults has frames go astray: a link that carries nonsense is given up, a result that comes twice counts once.
func TestFaults(t *testing.T) {
	bubble(t, func(t *testing.T) {
		job := commtest.Start(t, 3, comm.Slots(1))
		ctx := job.Context()
		var seen atomic.Int32
		job.Faults(func(f commtest.Frame) commtest.Action {
			if f.Rank == 1 && f.Up && f.Kind == "result" && seen.Add(1) == 1 {
				return commtest.Corrupt
			}
			return commtest.Pass
		})
		rs, err := comm.Gather(ctx, naps.Submit(ctx, 1), naps.Submit(ctx, 2), naps.Submit(ctx, 3), naps.Submit(ctx, 4))
		if err != nil || !slices.Equal(rs, []time.Duration{1, 2, 3, 4}) {
			t.Errorf("got %v, %v", rs, err)
		}
		if n := job.Comm(0).Slots(); n != 2 {
			t.Errorf("%d slots after a corrupt frame of rank 1, want 2", n)
		}
	})
}

// TestDelay has runs take an hour to arrive, results arrive twice, and then runs not arrive at all.
func TestDelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		job := commtest.Start(t, 2, comm.Slots(1))
		ctx := job.Context()
		job.Faults(func(f commtest.Frame) commtest.Action {
			switch f.Kind {
			case "run":
				return commtest.Delay(time.Hour)
			case "result":
				return commtest.Twice
			}
			return commtest.Pass
		})
		began := time.Now()
		for range 3 {
			if ranks, err := whereAmI.OnAll(ctx, 0); err != nil || !slices.Equal(ranks, []int{0, 1}) {
				t.Fatalf("got %v, %v", ranks, err)
			}
		}
		if took := time.Since(began); took != 3*time.Hour {
			t.Errorf("three delays of an hour took %v", took)
		}
		synctest.Wait()
		if n := job.Comm(0).Stats().Dropped; n != 3 {
			t.Errorf("%d results dropped, want 3 of those that came twice", n)
		}
		job.Faults(func(f commtest.Frame) commtest.Action {
			if f.Kind == "run" {
				return commtest.Drop
			}
			return commtest.Pass
		})
		hasty, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if _, err := whereAmI.OnAll(hasty, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a run that was dropped: %v", err)
		}
	})
}

// TestRandomKills kills and restarts ranks at random while tasks run: every result arrives exactly once, and so does
// every callback.
func TestRandomKills(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(t *testing.T) { randomKills(t, rand.New(rand.NewPCG(seed, 4))) })
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func randomKills(t *testing.T, r *rand.Rand) {
	job := commtest.Start(t, 5, comm.Slots(r.IntN(2)+1))
	ctx := job.Context()
	const n = 300
	var results, callbacks [n]atomic.Int32
	var all sync.WaitGroup
	for i := range n {
		f := naps
		if r.IntN(4) == 0 {
			f = napsInside
		}
		d := time.Duration(r.IntN(2000)) * time.Millisecond
		all.Add(2)
		future := f.Submit(ctx, d)
		future.Then(func(got time.Duration, err error) {
			callbacks[i].Add(1)
			all.Done()
		})
		go func() {
			defer all.Done()
			got, err := future.Get(ctx)
			var lost *comm.LostError
			switch {
			case errors.As(err, &lost) && len(lost.Attempts) == 3: // it may lose no more
			case err != nil && strings.Contains(err.Error(), "before it the task has lost"): // so did the one inside
			case err != nil || got != d:
				t.Errorf("task %d: %v, %v, want %v", i, got, err, d)
			}
			results[i].Add(1)
		}()
	}
	stop := make(chan struct{})
	go func() { all.Wait(); close(stop) }()
	for over := false; !over; {
		switch rank := 1 + r.IntN(4); r.IntN(3) {
		case 0:
			job.Kill(rank)
		default:
			job.Restart(rank)
		}
		select {
		case <-stop:
			over = true
		case <-time.After(time.Duration(r.IntN(3000)) * time.Millisecond):
		}
	}
	for i := range n {
		if results[i].Load() != 1 || callbacks[i].Load() != 1 {
			t.Errorf("task %d: %d results, %d callbacks", i, results[i].Load(), callbacks[i].Load())
		}
	}
	if s := job.Comm(0).Stats(); s.Active != 0 {
		t.Errorf("%d tasks are left", s.Active)
	}
}

// TestMessagesOfALostRank has a rank that waits for messages of a lost one, and sends to it, get its LostError, until it
// is back: what its earlier incarnation sent is forgotten then.
func TestMessagesOfALostRank(t *testing.T) {
	bubble(t, func(t *testing.T) {
		job := commtest.Start(t, 3)
		ctx, zero := job.Context(), job.Comm(0)
		if err := job.Comm(2).SendMessage(ctx, 0, 1, []byte("early")); err != nil {
			t.Fatal(err)
		}
		received := make(chan error, 2)
		for _, c := range []*comm.Comm{zero, job.Comm(1)} {
			go func() {
				_, err := c.RecvMessage(ctx, 2, 7)
				received <- err
			}()
		}
		synctest.Wait()
		job.Kill(2)
		var lost *comm.LostError
		for range 2 {
			if err := <-received; !errors.As(err, &lost) || lost.Rank != 2 {
				t.Errorf("who waited got %v", err)
			}
		}
		if err := zero.SendMessage(ctx, 2, 7, nil); !errors.As(err, &lost) || lost.Rank != 2 {
			t.Errorf("who sends gets %v", err)
		}
		job.Restart(2)
		if err := job.Comm(2).SendMessage(ctx, 0, 1, []byte("late")); err != nil {
			t.Fatal(err)
		}
		if b, err := zero.RecvMessage(ctx, 2, 1); string(b) != "late" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		if err := zero.SendMessage(ctx, 2, 7, []byte("hello")); err != nil {
			t.Errorf("once it is back: %v", err)
		}
		if b, err := job.Comm(2).RecvMessage(ctx, 0, 7); string(b) != "hello" || err != nil {
			t.Errorf("it got %q, %v", b, err)
		}
		job.Kill(1)
		job.Restart(2) // comes after a rank was lost, and hears of it
		if err := job.Comm(2).SendMessage(ctx, 1, 7, nil); !errors.As(err, &lost) || lost.Rank != 1 {
			t.Errorf("a rank that came later gets %v", err)
		}
	})
}

var (
	release = make(chan struct{}, 2)
	waits   = comm.Register("waits", func(context.Context, int) (int, error) { <-release; return 0, nil })
)

// TestNothingWaitsBehindALongTask has a rank that was given short tasks ahead of need run one that ends only after them.
func TestNothingWaitsBehindALongTask(t *testing.T) {
	job := commtest.Start(t, 2, comm.Slots(1))
	ctx := job.Context()
	for range 5 { // it is known now to be short, and many are sent at once
		var fs []*comm.Future[time.Duration]
		for i := range 100 {
			fs = append(fs, naps.Submit(ctx, 0))
			if i == 20 {
				waits.Submit(ctx, 0)
			}
		}
		if _, err := comm.Gather(ctx, fs...); err != nil {
			t.Fatal(err)
		}
		release <- struct{}{}
	}
	if err := job.Comm(0).Wait(ctx); err != nil {
		t.Error(err)
	}
}
