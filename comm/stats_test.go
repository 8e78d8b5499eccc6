package comm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm"
)

func TestStatsOfFunctions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
			for d := range naps.Unordered(ctx, slices.Values(slices.Repeat([]time.Duration{time.Second}, 4))) {
				if d.Err != nil {
					return d.Err
				}
			}
			for range failsAtFirst.Map(ctx, slices.Values([]int{0, 1, 2}), comm.Chunk(3), comm.Retries(1)) {
			}
			failsAtFirst.Call(ctx, 1, comm.Retries(1))
			time.Sleep(2 * time.Second)
			s := c.Stats()
			if len(s.Functions) != 2 || s.Active != 0 || s.Elapsed != 4*time.Second || s.Dropped != 0 {
				return fmt.Errorf("%+v", s)
			}
			f, n := s.Functions[0], s.Functions[1]
			if f.Name != "fails_at_first" || f.Tasks != 4 || f.Failures != 1 || f.Reruns != 3 || f.Retries != 1 || f.Lost != 0 {
				return fmt.Errorf("%+v", f)
			}
			second := comm.Spread{P50: time.Second, P95: time.Second, Max: time.Second}
			if n.Name != "naps" || n.Tasks != 4 || n.Failures != 0 || n.Ran != second || n.Queued.Max > time.Second || n.Bytes == 0 {
				return fmt.Errorf("%+v", n)
			}
			for rank, r := range s.Ranks {
				if r.Rank != rank || r.Node != s.Nodes[rank].Name || r.Busy != 0.5 || r.Time != 2*time.Second || s.Nodes[rank].Time != r.Time {
					return fmt.Errorf("%+v", r)
				}
			}
			b, err := json.Marshal(s)
			if err != nil {
				return err
			}
			var back comm.Stats
			if err := json.Unmarshal(b, &back); err != nil || len(back.Functions) != 2 || back.Functions[0] != f {
				return fmt.Errorf("%s becomes %+v, %v", b, back, err)
			}
			return nil
		}))
	})
}

// TestStatsWithoutWaiting has a task that waits an hour for another on its only slot.
func TestStatsWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world(t, 1, func(ctx context.Context, c *comm.Comm) error {
			if _, err := delegates.Call(ctx, time.Hour); err != nil {
				return err
			}
			for _, f := range c.Stats().Functions {
				if want := map[string]time.Duration{"delegates": time.Minute, "naps": time.Hour}[f.Name]; f.Ran.Max != want {
					return fmt.Errorf("%s ran %v, want %v", f.Name, f.Ran.Max, want)
				}
			}
			if busy := c.Stats().Ranks[0].Busy; busy != 1 {
				return fmt.Errorf("busy share %v", busy)
			}
			return nil
		})
	})
}

var delegates = comm.Register("delegates", func(ctx context.Context, d time.Duration) (int, error) {
	time.Sleep(time.Minute)
	return naps.Call(ctx, d)
})
