package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/coll"
)

// job is a kind of program that ranks run.
type job int

const (
	sleeper job = iota // a system's program: nothing but a signal ends it before its time
	wrapped            // a shell that waits for its child
	strayed            // a shell whose child is in a session of its own
	spmd               // comm.Init, all ranks to all
	farm               // comm.Main, tasks; lost ranks are replaced
)

var jobs = []job{sleeper, wrapped, strayed, strayed, spmd, spmd, farm, farm, farm}

func (j job) String() string {
	return [...]string{"sleep", "wrapper", "setsid", "comm.Init", "comm.Main"}[j]
}

// straySeconds is how the stray grandchild is known.
const straySeconds = "4242"

// command is the program with its arguments, and what pprun is told of it.
func (j job) command() (flags, argv []string) {
	switch j {
	case sleeper:
		return nil, []string{"sleep", "1000"}
	case wrapped:
		return []string{"--stdin", "all"}, []string{"sh", "-c", "exec 3<&0; cat <&3 >/dev/null & wait"}
	case strayed:
		return []string{"--stdin", "all"}, []string{"sh", "-c", "setsid sleep " + straySeconds + " & cat >/dev/null"}
	case spmd:
		return nil, []string{"/shared/chaos", "ring"}
	default:
		return []string{"--respawn", "1000"}, []string{"/shared/soak", "-tasks", "1"}
	}
}

// obeys says whether the job ends when its standard input does.
func (j job) obeys() bool { return j != sleeper }

// done says whether that is what a job says that has ended well.
func (j job) done(stdout string) bool {
	switch j {
	case spmd:
		return strings.HasSuffix(stdout, "ring: done\n")
	case farm:
		return strings.HasSuffix(stdout, ": 0 without exactly one result and one callback\n")
	default:
		return stdout == ""
	}
}

// ring is the program of spmd: a sum over all ranks, again and again, until the standard input of rank 0 has ended.
func ring() {
	if err := sums(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "ring:", err)
		os.Exit(1)
	}
}

func sums(ctx context.Context) error {
	c, err := comm.Init(ctx)
	if err != nil {
		return err
	}
	ended := make(chan struct{}) // for rank 0
	if c.Rank() == 0 {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			close(ended)
		}()
	}
	for over := 0; over == 0; {
		select {
		case <-ended:
			over = 1
		case <-time.After(5 * time.Millisecond): // many ranks share two processors
		}
		if over, err = coll.AllReduce(ctx, c, over, func(a, b int) int { return a + b }); err != nil {
			return err
		}
	}
	if c.Rank() == 0 {
		fmt.Println("ring: done")
	}
	return c.Close()
}
