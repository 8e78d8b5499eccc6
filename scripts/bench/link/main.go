// Link measures the link of each rank to rank 0: a round trip of 8 bytes, and megabytes a second each way in messages of
// 1 MiB. Every byte that comes is checked.
//
//	pprun --host node1:1,node2:1 ./scripts/bench/link
//
// To see a link that goes through the ssh connections beside a direct one, run it before and after `lab part node1 node2`.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/pprun/pprun/comm"
)

var (
	trips = flag.Int("trips", 2000, "round trips")
	size  = flag.Int("mib", 256, "MiB to send each way")
)

const (
	tagTrip = 1 + iota
	tagBulk
	tagDone
)

func main() {
	flag.Parse()
	ctx := context.Background()
	c, err := comm.Init(ctx)
	if err == nil {
		err = run(ctx, c)
	}
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c *comm.Comm) error {
	if c.Rank() > 0 {
		return answer(ctx, c)
	}
	for rank := 1; rank < c.Size(); rank++ {
		if err := measure(ctx, c, rank); err != nil {
			return err
		}
	}
	return nil
}

func measure(ctx context.Context, c *comm.Comm, rank int) error {
	took := make([]time.Duration, *trips)
	for i := range took {
		began := time.Now()
		if err := c.SendMessage(ctx, rank, tagTrip, make([]byte, 8)); err != nil {
			return err
		}
		if _, err := c.RecvMessage(ctx, rank, tagTrip); err != nil {
			return err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	began := time.Now()
	if err := send(ctx, c, rank); err != nil {
		return err
	}
	if _, err := c.RecvMessage(ctx, rank, tagDone); err != nil {
		return err
	}
	to := time.Since(began)
	began = time.Now()
	if err := receive(ctx, c, rank); err != nil {
		return err
	}
	from := time.Since(began)
	rate := func(d time.Duration) float64 { return float64(*size<<20) / 1e6 / d.Seconds() }
	fmt.Printf("rank %d: round trip %v (p99 %v), %.0f MB/s there, %.0f MB/s back\n",
		rank, took[len(took)/2], took[len(took)*99/100], rate(to), rate(from))
	return nil
}

func answer(ctx context.Context, c *comm.Comm) error {
	for range *trips {
		b, err := c.RecvMessage(ctx, 0, tagTrip)
		if err != nil {
			return err
		}
		if err := c.SendMessage(ctx, 0, tagTrip, b); err != nil {
			return err
		}
	}
	if err := receive(ctx, c, 0); err != nil {
		return err
	}
	if err := c.SendMessage(ctx, 0, tagDone, nil); err != nil {
		return err
	}
	return send(ctx, c, 0)
}

// send sends messages of 1 MiB, each filled with its number.
func send(ctx context.Context, c *comm.Comm, to int) error {
	for i := range *size {
		if err := c.SendMessage(ctx, to, tagBulk, bytes.Repeat([]byte{byte(i)}, 1<<20)); err != nil {
			return err
		}
	}
	return nil
}

func receive(ctx context.Context, c *comm.Comm, from int) error {
	for i := range *size {
		b, err := c.RecvMessage(ctx, from, tagBulk)
		if err != nil {
			return err
		}
		if len(b) != 1<<20 || bytes.Count(b, []byte{byte(i)}) != len(b) {
			return fmt.Errorf("message %d of rank %d is not what was sent", i, from)
		}
	}
	return nil
}
