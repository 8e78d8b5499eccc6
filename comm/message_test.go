package comm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/pprun/pprun/comm"
)

func TestLargeValues(t *testing.T) {
	world(t, 3, func(ctx context.Context, c *comm.Comm) error {
		for _, n := range []int{0, 1, 64 << 10, 64<<10 + 1, 1 << 20, 1<<20 + 1, 2<<20 + 3} {
			b := make([]byte, n)
			r := rand.NewChaCha8([32]byte{byte(n)})
			r.Read(b)
			rs, err := echo.OnAll(ctx, b)
			if err != nil {
				return err
			}
			for rank, r := range rs {
				if !bytes.Equal(r, b) {
					return fmt.Errorf("%d bytes came back from rank %d as %d others", n, rank, len(r))
				}
			}
		}
		return nil
	})
}

func TestMessages(t *testing.T) {
	const size = 3
	world(t, size, func(ctx context.Context, c *comm.Comm) error {
		lens := []int{0, 1, 100, 70_000, 3, 3 << 20, 5, 1 << 20, 2}
		for dst := range size {
			for i, n := range lens {
				b := bytes.Repeat([]byte{byte(i)}, n)
				if err := c.SendMessage(ctx, dst, 1<<63+uint64(i%2), b); err != nil {
					return err
				}
				clear(b) // the buffer is ours again
			}
		}
		for src := range size {
			for _, i := range []int{1, 3, 5, 7, 0, 2, 4, 6, 8} {
				b, err := c.RecvMessage(ctx, src, 1<<63+uint64(i%2))
				if err != nil {
					return err
				}
				if want := bytes.Repeat([]byte{byte(i)}, lens[i]); !bytes.Equal(b, want) {
					return fmt.Errorf("message %d from %d: %d bytes, want %d", i, src, len(b), len(want))
				}
			}
		}
		return nil
	})
}

func TestUnreadMessagesEndTheJob(t *testing.T) {
	ctx := t.Context()
	for _, m := range []struct{ count, bytes int }{{7, 100}, {16, 0}} { // the last one is too many
		comms, err := comm.World(ctx, 2, comm.MaxUnread(1000))
		if err != nil {
			t.Fatal(err)
		}
		for tag := range m.count {
			if err := comms[0].SendMessage(ctx, 1, uint64(tag), make([]byte, m.bytes)); err != nil {
				t.Fatal(err)
			}
		}
		_, err = comms[0].RecvMessage(ctx, 1, 7)
		var lost *comm.LostError
		if !errors.As(err, &lost) || lost.Rank != 1 || !strings.Contains(err.Error(), "more than 1000 bytes of messages") {
			t.Errorf("%d messages of %d bytes: %v", m.count, m.bytes, err)
		}
		closeAll(comms)
	}
}

// A message may be longer than all that may wait: it waits alone.
func TestOneLongMessage(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		for range 2 {
			if err := c.SendMessage(ctx, 0, 1, make([]byte, 5000)); err != nil {
				return err
			}
			if _, err := double.Call(ctx, 1, comm.OnRanks(1)); err != nil { // by then it has come
				return err
			}
			if b, err := c.RecvMessage(ctx, 0, 1); err != nil || len(b) != 5000 {
				return fmt.Errorf("%d bytes, %w", len(b), err)
			}
		}
		return nil
	}), comm.MaxUnread(1000))
}

func closeAll(comms []*comm.Comm) {
	var all sync.WaitGroup
	for _, c := range comms {
		all.Go(func() { c.Close() })
	}
	all.Wait()
}

func TestAbort(t *testing.T) {
	ctx := t.Context()
	comms, err := comm.World(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	f := blocks.Submit(comm.NewContext(ctx, comms[0]), 0)
	<-began
	comms[2].Abort(errors.New("no more"))
	var lost *comm.LostError
	if _, err := f.Get(ctx); !errors.As(err, &lost) || lost.Rank != 2 {
		t.Errorf("pending: %v", err)
	}
	if _, err := comms[1].RecvMessage(ctx, 0, 1); !errors.As(err, &lost) || lost.Node != "node2" {
		t.Errorf("receive: %v", err)
	}
	if _, err := double.Call(comm.NewContext(ctx, comms[1]), 0); !errors.As(err, &lost) {
		t.Errorf("submit: %v", err)
	}
	<-ended
	closeAll(comms)
}
