package comm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/pprun/pprun/comm"
)

func TestAfterClose(t *testing.T) {
	for _, size := range []int{1, 2} {
		closed := make([]*comm.Comm, size)
		world(t, size, func(ctx context.Context, c *comm.Comm) error {
			closed[c.Rank()] = c
			return nil
		})
		for _, c := range closed {
			f := double.Submit(comm.NewContext(t.Context(), c), 1)
			if _, err := f.Get(t.Context()); !errors.Is(err, comm.ErrClosed) {
				t.Errorf("rank %d of %d: %v, want %v", c.Rank(), size, err, comm.ErrClosed)
			}
			if err := c.Close(); err != nil && !errors.Is(err, comm.ErrClosed) {
				t.Errorf("rank %d of %d: closed again: %v", c.Rank(), size, err)
			}
		}
	}
}
