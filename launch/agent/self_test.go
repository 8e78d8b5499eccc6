package agent

import (
	"bytes"
	"os"
	"testing"
)

func TestBuildID(t *testing.T) {
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	id := goBuildID(bytes.NewReader(self))
	if id == nil {
		t.Skip("this platform's executables carry no build ID in an ELF note: they are hashed whole")
	}
	if !bytes.Contains(self, id) || bytes.Count(id, []byte("/")) != 3 {
		t.Errorf("build ID %q: want four parts of the file", id)
	}
	if id := goBuildID(bytes.NewReader([]byte("#!/bin/sh\n"))); id != nil {
		t.Errorf("a script has the build ID %q", id)
	}
}
