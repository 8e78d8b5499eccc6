package agent

import (
	"bytes"
	"os"
	"path/filepath"
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

// TestIdentityOfDamaged flips a bit of an executable, which is another one then.
func TestIdentityOfDamaged(t *testing.T) {
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "agent")
	identity := func() string {
		if err := os.WriteFile(file, self, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		id, err := IdentityOf(f)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	whole := identity()
	if own, err := Identity(); own != whole || err != nil {
		t.Errorf("a copy is %s, this executable is %s: %v", whole, own, err)
	}
	self[len(self)/2] ^= 1
	if damaged := identity(); damaged == whole {
		t.Errorf("a damaged copy is %s, as this executable is", damaged)
	}
}
