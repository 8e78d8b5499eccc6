//go:build !cgo

// Cgo needs a C compiler: this file stands in for the program where there is none.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "examples/cgo was built without cgo: install a C compiler, or set CGO_ENABLED=1")
	os.Exit(1)
}
