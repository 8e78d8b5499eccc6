package comm_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// programs are what this test binary can be instead of a test: ranks of a job under a fake agent.
var programs = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv("COMM_TEST_PROGRAM"); name != "" {
		program, ok := programs[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "no program %q\n", name)
			os.Exit(64)
		}
		program()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
