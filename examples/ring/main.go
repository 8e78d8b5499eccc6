// Ring sends a token once around all ranks, in the way of MPI: every rank runs the same code and acts on its number.
// Each rank adds its number to the token; rank 0 then compares the token with a reduction over all ranks.
//
//	go run ./cmd/pprun -n 4 ./examples/ring
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/coll"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	c, err := comm.Init(ctx)
	if err != nil {
		return err
	}

	rank, size := c.Rank(), c.Size()
	next, prev := (rank+1)%size, (rank+size-1)%size
	token := 0
	if rank == 0 { // sends first, receives last
		if err := coll.Send(ctx, c, next, tokenTag, 0); err != nil {
			return err
		}
	}
	if token, err = coll.Recv[int](ctx, c, prev, tokenTag); err != nil {
		return err
	}
	if rank != 0 {
		if err := coll.Send(ctx, c, next, tokenTag, token+rank); err != nil {
			return err
		}
	}

	sum, err := coll.AllReduce(ctx, c, rank, func(a, b int) int { return a + b })
	if err != nil {
		return err
	}
	if rank == 0 {
		fmt.Printf("%d ranks: the token brought %d, AllReduce says %d\n", size, token, sum)
	}
	return c.Close()
}

const tokenTag = 1
