package main

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Ranks get an environment of a hundred thousand variables, which is more than shells are good at.
func TestManyVariables(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-q", "-n", "2", "printenv", "V1", "V100000")
	cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1")
	for i := range 100_000 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("V%d=x", i+1))
	}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "x\nx\nx\nx\n" {
		t.Errorf("%v: %.500s", err, out)
	}
}
