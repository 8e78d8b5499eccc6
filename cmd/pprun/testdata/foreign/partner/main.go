// Command partner prints what each rank runs on.
package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/pprun/pprun/comm"
)

var platform = comm.Register("platform", func(context.Context, int) (string, error) {
	return runtime.GOOS + "/" + runtime.GOARCH, nil
})

func main() { comm.Main(run) }

func run(ctx context.Context, c *comm.Comm) error {
	all, err := platform.OnAll(ctx, 0)
	fmt.Println(all)
	return err
}
