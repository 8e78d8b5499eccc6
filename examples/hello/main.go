// Hello prints a line for every rank: which one it is and on which host.
//
//	go run ./cmd/pprun -n 4 ./examples/hello
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/pprun/pprun/comm"
)

func main() {
	c, err := comm.Init(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("hello from rank %d of %d on %s\n", c.Rank(), c.Size(), host)
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
}
