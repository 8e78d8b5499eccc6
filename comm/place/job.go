package place

import "context"

// A Launcher is where a program that launches itself finds its other ranks, or an option of that. Package launch has
// them, package comm takes them (comm.Via).
type Launcher interface {
	// Launch starts the job that all of the launchers describe together, this one among them. It returns when the other
	// ranks have been started, or with the reason why they have not: then nothing is left of them. When ctx ends it gives
	// up. An error may have a method ExitStatus() int.
	Launch(ctx context.Context, all []Launcher) (Job, error)
}

// A Job is one that a Launcher has started. The calling process is its rank 0. Its methods may be called from any
// goroutine.
type Job interface {
	// Env is with what rank 0 takes its place: see TakeAs.
	Env() Env
	// Failed is closed when the job is ended before its time: the other ranks are ended, End has the reason.
	Failed() <-chan struct{}
	// End is for when rank 0 has left the job, or never came to take its place. It has the ranks that are still there
	// ended, at once if err, with which rank 0 left, is not nil, and returns when nothing is left of them anywhere. The
	// error is the reason why the job failed, if it did and rank 0 has not said it. It may be called more than once.
	End(err error) error
	// AddNodes starts ranks on further machines, and returns when they have been started, or why not. For each machine grow
	// is called before, one call after the other, with what its ranks add to the job; it must not block.
	AddNodes(ctx context.Context, names []string, grow func(Growth)) error
	// RemoveNode ends the agent of a machine, by its index, whose ranks have left. It returns when nothing is left there.
	RemoveNode(ctx context.Context, node int) error
}

// Growth is what a job is to be: its nodes, and the node and slots of each rank, with those that are to come.
type Growth struct {
	Nodes         []string
	NodeOf, Slots []int
}
