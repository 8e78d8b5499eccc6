// Command partner prints what each rank runs on. Where hosts are named by a file it launches itself there.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/launch"
)

var platform = comm.Register("platform", func(context.Context, int) (string, error) {
	return runtime.GOOS + "/" + runtime.GOARCH, nil
})

func main() {
	if len(os.Args) > 1 {
		comm.Main(run, comm.Via(launch.Hosts(os.Args[1]), launch.Local(0)))
	}
	comm.Main(run)
}

func run(ctx context.Context, c *comm.Comm) error {
	all, err := platform.OnAll(ctx, 0)
	fmt.Println(all)
	return err
}
