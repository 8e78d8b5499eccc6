package commtest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/pprun/pprun/comm"
)

// A Job is what Start makes. Its methods are safe for concurrent use.
type Job struct {
	t      testing.TB
	bed    *comm.Testbed
	mu     sync.Mutex // guards bed and killed
	killed []bool
	faults faults
	work   sync.WaitGroup // of ranks that serve, and of links
}

// Start makes a job of n ranks in this process, each with one slot unless opts say otherwise. The test is rank 0; the
// others only serve tasks, as those of a program that calls comm.Main do, so that the job outlives them:
//
//	job := commtest.Start(t, 4)
//	f := work.Submit(job.Context(), 7)
//	job.Kill(2)                        // if it ran there it runs again elsewhere
//	job.Restart(2)                     // the next incarnation, which knows of nothing
//	job.Faults(func(f commtest.Frame) commtest.Action {
//		if f.Rank == 3 && f.Kind == "result" {
//			return commtest.Delay(time.Minute)
//		}
//		return commtest.Pass
//	})
//
// The end of the test closes the job; it fails if the job is lost. In a testing/synctest bubble time stands still while
// any rank is busy, and a minute's delay takes no time.
func Start(t testing.TB, n int, opts ...comm.InitOption) *Job {
	t.Helper()
	j := &Job{t: t, killed: make([]bool, n)}
	bed, err := comm.NewTestbed(t.Context(), n, j.link, append([]comm.InitOption{comm.Slots(1)}, opts...)...)
	if err != nil {
		t.Fatalf("commtest: %d ranks: %v", n, err)
	}
	j.bed = bed
	for rank := 1; rank < n; rank++ {
		j.serve(rank)
	}
	t.Cleanup(j.close)
	return j
}

// serve has a rank do what it does in comm.Main: nothing but serve, until the job ends or it is lost.
func (j *Job) serve(rank int) {
	c := j.bed.Comm(rank)
	j.work.Go(func() { c.Close() }) // its error is that it was killed
}

func (j *Job) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.faults.end()
	if err := j.bed.Comm(0).Close(); err != nil {
		j.t.Errorf("rank 0: %v", err)
	}
	j.work.Wait()
}

// link makes the link of a rank: two pipes with the faults between them.
func (j *Job) link(rank int) (near, far net.Conn) {
	near, hub := net.Pipe()
	client, far := net.Pipe()
	j.work.Go(func() { j.faults.forward(Frame{Rank: rank, Up: true}, client, hub) })
	j.work.Go(func() { j.faults.forward(Frame{Rank: rank}, hub, client) })
	return near, far
}

// Context returns the test's context with rank 0's Comm in it, for Submit, Map and the like.
func (j *Job) Context() context.Context { return comm.NewContext(j.t.Context(), j.Comm(0)) }

// Comm returns a rank: of one that was restarted the latest incarnation.
func (j *Job) Comm(rank int) *comm.Comm {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bed.Comm(rank)
}

// Kill ends a rank above 0 as if its process had died: nothing that it has not sent yet arrives, and all ranks know when
// Kill returns. The functions that it runs are goroutines, which cannot be killed: their contexts end, and what they
// do is lost. A rank that was killed already stays so.
func (j *Job) Kill(rank int) {
	j.t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kill(rank)
}

func (j *Job) kill(rank int) {
	j.t.Helper()
	if rank == 0 {
		j.t.Fatal("commtest: rank 0 is the test itself")
	}
	if !j.killed[rank] {
		j.bed.Kill(rank)
		j.killed[rank] = true
	}
}

// Restart brings a rank back, as pprun does with one whose process has died; it kills one that lives.
func (j *Job) Restart(rank int) {
	j.t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kill(rank)
	if err := j.bed.Restart(rank); err != nil {
		j.t.Fatalf("commtest: restart rank %d: %v", rank, err)
	}
	j.killed[rank] = false
	j.serve(rank)
}

// GiveUp kills a rank for good: tasks that nobody else could run fail. Restart brings it back all the same.
func (j *Job) GiveUp(rank int) {
	j.t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kill(rank)
	j.bed.GiveUp(rank)
}

// Faults has f decide what becomes of each frame on the links between ranks and hub from now on; nil lets all pass. It
// is called for one frame at a time, and must not call methods of the Job. It is not asked about bye, without which the
// job could not end.
func (j *Job) Faults(f func(Frame) Action) { j.faults.set(f) }
