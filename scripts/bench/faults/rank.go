package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/coll"
)

var hold = comm.Register("hold", func(ctx context.Context, _ int) (int, error) {
	fmt.Println("ready")
	<-ctx.Done()
	return 0, context.Cause(ctx)
})

// beRank is what the ranks of jobs do: wait until something happens to them. USR1 has one fail by itself, USR2 eat all the
// memory there is.
func beRank(verb string) error {
	ctx := context.Background()
	orders := make(chan os.Signal, 1)
	signal.Notify(orders, syscall.SIGUSR1, syscall.SIGUSR2)
	go obey(orders)
	switch verb {
	case "nothing":
		return nil
	case "serve": // all ranks run tasks, but rank 0 waits for them
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			var fs []*comm.Future[int]
			for rank := range c.Size() {
				fs = append(fs, hold.With(comm.OnRanks(rank)).Submit(ctx, rank))
			}
			_, err := comm.Gather(ctx, fs...)
			return err
		}, comm.Slots(1))
		return nil
	case "talk": // lines without end
		for {
			if _, err := fmt.Println("ready"); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
	case "stubborn": // heeds neither TERM nor the loss of others
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		fmt.Println("ready")
		select {}
	}
	c, err := comm.Init(ctx)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = coll.Recv[int](ctx, c, (c.Rank()+1)%c.Size(), 1)
	return err
}

// obey fails as it is told.
func obey(orders <-chan os.Signal) {
	if s := <-orders; s == syscall.SIGUSR1 {
		os.Exit(3)
	}
	for all := [][]byte{}; ; {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = byte(i)
		}
		all = append(all, b)
	}
}
