//go:build cgo

// Cgo draws the Mandelbrot set, one task for each line, with the inner loop in C.
// pprun sees that the program uses cgo and builds it for the nodes that are like this machine.
//
//	go run ./cmd/pprun ./examples/cgo
package main

/*
// escape returns how many steps z = z*z + c takes to leave the circle of radius 2, at most limit.
static int escape(double re, double im, int limit) {
	double x = 0, y = 0;
	int i;
	for (i = 0; i < limit && x*x + y*y <= 4; i++) {
		double t = x*x - y*y + re;
		y = 2*x*y + im;
		x = t;
	}
	return i;
}
*/
import "C"

import (
	"context"
	"fmt"

	"github.com/pprun/pprun/comm"
)

const (
	width, height = 76, 28
	limit         = 10_000
)

// Line draws one line of the picture.
var Line = comm.Register("line", func(ctx context.Context, row int) (string, error) {
	shades := " .:-=+*%#"
	line := make([]byte, width)
	im := 1.2 - 2.4*float64(row)/(height-1)
	for col := range line {
		re := -2.2 + 3.2*float64(col)/(width-1)
		steps := int(C.escape(C.double(re), C.double(im), limit))
		if steps == limit {
			line[col] = '@'
		} else {
			line[col] = shades[min(steps/2, len(shades)-1)]
		}
	}
	return string(line), nil
})

func main() { comm.Main(run) }

func run(ctx context.Context, c *comm.Comm) error {
	rows := func(yield func(int) bool) {
		for row := 0; row < height && yield(row); row++ {
		}
	}
	for line, err := range Line.Map(ctx, rows) {
		if err != nil {
			return err
		}
		fmt.Println(line)
	}
	return nil
}
