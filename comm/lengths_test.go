package comm_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pprun/pprun/comm"
)

// Messages behave as queues would, one for each sender, receiver and tag: of any length, to oneself too, and with a buffer
// that is used again at once. Every rank sends and receives in an order of its own.
func TestMessagesLikeQueues(t *testing.T) {
	const size, tags, rounds = 3, 4, 60
	seed := rand.Uint64()
	lengths := []int{0, 0, 1, 2, 100, 4095, 4096, 64 << 10, 64<<10 + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 2<<20 + 7}
	type message struct{ src, dst, tag, len, fill int }
	var sent [size][]message             // in order, by sender
	queues := make(map[[3]int][]message) // the model
	random := rand.New(rand.NewPCG(seed, 0))
	for src := range size {
		for i := range rounds {
			m := message{src, random.IntN(size), random.IntN(tags), lengths[random.IntN(len(lengths))], i}
			sent[src] = append(sent[src], m)
			q := [3]int{src, m.dst, m.tag}
			queues[q] = append(queues[q], m)
		}
	}
	world(t, size, func(ctx context.Context, c *comm.Comm) error {
		done := make(chan error, 1)
		go func() {
			buffer := make([]byte, 3<<20)
			for _, m := range sent[c.Rank()] {
				b := buffer[:m.len]
				for i := range b {
					b[i] = byte(m.fill)
				}
				if err := c.SendMessage(ctx, m.dst, uint64(m.tag), b); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		r := rand.New(rand.NewPCG(seed, uint64(c.Rank())+1))
		var open [][]message
		for q, ms := range queues {
			if q[1] == c.Rank() {
				open = append(open, ms)
			}
		}
		for len(open) > 0 {
			i := r.IntN(len(open))
			m := open[i][0]
			b, err := c.RecvMessage(ctx, m.src, uint64(m.tag))
			if err != nil {
				return err
			}
			if want := bytes.Repeat([]byte{byte(m.fill)}, m.len); !bytes.Equal(b, want) {
				return fmt.Errorf("seed %d: message %+v has %d bytes", seed, m, len(b))
			}
			if open[i] = open[i][1:]; len(open[i]) == 0 {
				open = append(open[:i], open[i+1:]...)
			}
		}
		return <-done
	})
}

// What is too long for a message is refused where it is sent, before a byte of it is read; lengths that 32 bits cannot
// count do not come out as small ones.
func TestTooLongMessages(t *testing.T) {
	world(t, 2, onZero(func(ctx context.Context, c *comm.Comm) error {
		for _, n := range []int{1<<30 + 1, 4<<30 + 1} {
			want := fmt.Sprintf("comm: send to rank 1: the message has %d bytes, at most 1073741824", n)
			if err := c.SendMessage(ctx, 1, 0, make([]byte, n)); err == nil || !strings.Contains(err.Error(), want) {
				return fmt.Errorf("%v, want %s", err, want)
			}
		}
		return nil
	}))
}
