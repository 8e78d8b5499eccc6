package comm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// await waits until something is true of the hub.
func (b *Testbed) await(is func(h *hub) bool) {
	h := b.door.hub
	for {
		h.mu.Lock()
		ok := is(h)
		h.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestResultsWithoutEnd has a rank send more of a result, or of several at once, than a result can have: it is lost, and
// not the rank that waits for them.
func TestResultsWithoutEnd(t *testing.T) {
	for _, c := range []struct {
		submitter, tasks int
		want             string
	}{
		{0, 1, "has more than"}, {1, 1, "has more than"}, {0, 3, "finished none"}, {1, 3, "finished none"},
	} {
		t.Run(fmt.Sprintf("%d for rank %d", c.tasks, c.submitter), func(t *testing.T) {
			b, err := NewTestbed(t.Context(), 3, pipe, Slots(4))
			if err != nil {
				t.Fatal(err)
			}
			ctx := NewContext(t.Context(), b.comms[c.submitter])
			var fs []*Future[int]
			for range c.tasks {
				fs = append(fs, whoRuns.With(OnRanks(2)).Submit(ctx, time.Hour))
			}
			var runs []uint64
			b.await(func(h *hub) bool {
				runs = nil
				for task := range h.members[2].runs.all {
					runs = append(runs, task.run)
				}
				return len(runs) == c.tasks
			})
			go func() {
				conn := b.comms[2].up.(*link).conn
				for range maxSent/partLen + 1 {
					for _, run := range runs {
						h := frame.Header{Kind: kindResult, Flags: frame.More, Src: 2, Dst: uint32(c.submitter), ID: run}
						if frame.Write(conn, h, make([]byte, partLen)) != nil {
							return
						}
					}
				}
			}()
			b.await(func(h *hub) bool { return h.members[2].lost != nil })
			if got := b.door.hub.lostReason(2); !strings.Contains(got, c.want) {
				t.Errorf("the hub says %q, want %q", got, c.want)
			}
			b.GiveUp(2)
			for _, f := range fs {
				var lost *LostError
				if _, err := f.Get(ctx); !errors.As(err, &lost) || lost.Rank != 2 {
					t.Errorf("the task ends with %v, want that rank 2 is lost", err)
				}
			}
			b.comms[2].Close()
			b.end(t, true)
		})
	}
}

// TestIndexUsedAgain has a rank use the index of a task for another one before it has told that nobody waits for the first,
// and be lost. Nothing of either is left.
func TestIndexUsedAgain(t *testing.T) {
	b, err := NewTestbed(t.Context(), 3, pipe)
	if err != nil {
		t.Fatal(err)
	}
	task := make([]byte, taskHeadLen)
	putTaskHead(task, taskHead{fn: whoRuns.fn.index})
	task = append(task, must(Encode(time.Hour))...)
	for use := range uint64(2) {
		if err := frame.Write(b.comms[2].up.(*link).conn, frame.Header{Kind: kindSubmit, Src: 2, Dst: 1, ID: use << 32}, task); err != nil {
			t.Fatal(err)
		}
	}
	b.await(func(h *hub) bool { return len(h.members[2].submitted) == 1 && h.members[2].submitted[0].id == 1<<32 })
	b.Kill(2)
	b.await(func(h *hub) bool { return h.members[1].runs.len() == 0 })
	b.comms[2].Close()
	b.end(t, true)
}
