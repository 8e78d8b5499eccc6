package comm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// Main joins the ranks of the job, calls run on rank 0 while all ranks, rank 0 included, serve tasks, and ends the
// process when run has returned: with status 0, or with 1 after the error, printed once, and the stack if it is that of
// a panic. Call it as the last thing in main. The context that run gets carries the Comm and ends on SIGINT or SIGTERM; an
// error that run returns after that has the status 130 or 143, as if the signal had ended the process, which a second
// SIGINT does. A SIGINT that was ignored when the process began, as by jobs in the background of a script, stays so.
func Main(run func(ctx context.Context, c *Comm) error, opts ...InitOption) {
	os.Exit(mainRank(run, caller(1), newSettings(opts)))
}

func mainRank(run func(context.Context, *Comm) error, where string, s settings) (exit int) {
	if aboveZero() {
		return serve(where, s)
	}
	terminated, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, stopInt := terminated, stop
	if !signal.Ignored(syscall.SIGINT) {
		ctx, stopInt = signal.NotifyContext(terminated, syscall.SIGINT)
	}
	defer stopInt()
	context.AfterFunc(ctx, stopInt)
	failure := func(status int) int {
		switch {
		case terminated.Err() != nil:
			return 128 + int(syscall.SIGTERM)
		case ctx.Err() != nil:
			return 128 + int(syscall.SIGINT)
		}
		return status
	}
	c, err := initRank(ctx, place.SPMD, where, s)
	if exit := complainOf(err); exit > 0 {
		return failure(exit)
	}
	if err != nil {
		if ctx.Err() == nil { // else somebody ends the job, and knows why
			complain("rank 0: %v", err)
		}
		return failure(1)
	}
	err = run(NewContext(ctx, c), c)
	lost := c.close(false)
	if exit := complainOf(lost); exit > 0 { // what run has to say comes of that
		return exit
	}
	if err = cmp.Or(err, lost); err != nil {
		fmt.Fprintf(os.Stderr, "rank 0: %v\n%s", err, stackOf(err))
		return failure(1)
	}
	return 0
}

// serve is Main on a rank above 0: it runs tasks until rank 0 closes.
func serve(where string, s settings) (exit int) {
	c, err := initRank(context.Background(), place.Serve, where, s)
	if errors.Is(err, errOver) {
		return 0
	}
	if err != nil {
		complain("%v", err)
		return 1
	}
	if err := c.close(false); err != nil {
		time.Sleep(patience)
		complain("rank %d: %v", c.rank, err)
		return 1
	}
	return 0
}
