package comm

import (
	"context"
	"errors"
	"strings"

	"github.com/pprun/pprun/comm/place"
)

// A Launcher is where a program that launches itself finds its other ranks. Those of package launch are meant:
// launch.Local(4), launch.Servers("node-1", "node-2"), launch.Hosts("hosts.txt"), and options for these.
type Launcher = place.Launcher

// Via has Init and Main start the other ranks themselves, where no launcher such as pprun has started this process; where
// one has, it makes no difference from where the ranks come. All of the launchers make one job, of which this process is
// rank 0.
//
//	comm.Main(run, comm.Via(launch.Servers("node-1", "node-2")))
//
// The other ranks run the same executable from the beginning of main, and only serve tasks, with Init as with Main: there
// they never return from it, whoever started them. So what main does before is done by all of them, and what follows Init
// by rank 0 alone. If the start fails Init returns the reason; Main prints it, and exits with 64 where something was asked
// for that cannot be, 125 where a machine or its connection failed. If the job fails later, what is pending on rank 0 fails
// with a LostError, and Close returns the reason. Programs in which every rank runs its own part (package coll) need pprun.
func Via(launchers ...Launcher) InitOption {
	return func(s *settings) { s.via = append(s.via, launchers...) }
}

// take takes this process's place in its job, which is launched if need be and may be. The job is nil if it was not.
func take(ctx context.Context, role place.Role, s *settings) (*place.Link, place.Job, error) {
	link, err := place.Take(ctx, role)
	if !errors.Is(err, place.ErrNoAgent) || len(s.via) == 0 {
		return link, nil, err
	}
	job, err := s.via[0].Launch(ctx, s.via)
	if err != nil {
		return nil, nil, err
	}
	explainBy(func() string { return "rank 0 takes its place in the job" })
	catchQuits()
	if link, err = place.TakeAs(ctx, job.Env(), role); err != nil {
		return nil, nil, failed(job, err)
	}
	return link, job, nil
}

// failed ends a job that rank 0 leaves because of err, and returns the reason: the job's own goes first.
func failed(job place.Job, err error) error {
	if job == nil {
		return err
	}
	if own := job.End(err); own != nil {
		return own
	}
	return err
}

// heed has ctx end when the job fails, so that nobody waits for ranks that will not come.
func heed(ctx context.Context, job place.Job) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if job == nil {
		return ctx, func() { cancel(nil) }
	}
	joined := make(chan struct{})
	go func() {
		select {
		case <-job.Failed():
			cancel(errors.New("the job has failed"))
		case <-joined:
		}
	}()
	return ctx, func() { close(joined); cancel(nil) }
}

// attend gives up what is pending when the job that this process has launched fails.
func (c *Comm) attend() {
	select {
	case <-c.launched.Failed():
		c.fail(&LostError{Rank: -1, Reason: "its launcher has ended it"})
	case <-c.bye:
	case <-c.broken:
	}
}

// launchError is an error of a launcher.
type launchError interface {
	error
	ExitStatus() int
}

// complainOf writes a line for each of a launcher's error, and returns its exit status. It returns 0, and writes nothing,
// if the error is none of a launcher.
func complainOf(err error) (exit int) {
	e, ok := errors.AsType[launchError](err)
	if !ok {
		return 0
	}
	for line := range strings.SplitSeq(e.Error(), "\n") {
		complain("%s", line)
	}
	return max(1, e.ExitStatus())
}
