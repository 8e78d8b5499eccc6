package launch

import (
	"os"
	"strings"
	"testing"
)

// TestSiblings puts files beside this executable: one that is it for another platform, and some that are not.
func TestSiblings(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := platform{"linux", "arm64"}
	if other == ownPlatform {
		other.Arch = "amd64"
	}
	machine := map[string]byte{"arm64": 183, "amd64": 62}[other.Arch]
	program := make([]byte, 120) // an ELF header, and one of a segment
	copy(program, "\x7fELF\x02\x01\x01")
	copy(program[16:], []byte{2, 0, machine, 0, 1, 0, 0, 0})
	program[32], program[52], program[54], program[56] = 64, 64, 56, 1
	put := func(p platform, content []byte) string {
		t.Helper()
		file := p.beside(self)
		if err := os.WriteFile(file, content, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(file) })
		return file
	}
	want := put(other, program)
	put(platform{"linux", "riscv64"}, program)
	put(platform{"some", "notes"}, []byte("#!/bin/sh\n"))
	if got := siblings(); len(got) != 1 || got[other.String()] != want {
		t.Errorf("%v, want %s for %v", got, want, other)
	}
	if os.Getuid() != 0 {
		t.Log("whose a file is makes a difference only to root's test")
		return
	}
	if err := os.Lchown(want, 65534, -1); err != nil {
		t.Fatal(err)
	}
	if got := siblings(); len(got) != 0 {
		t.Errorf("%v are another user's", got)
	}
	if _, err := siblingHeader(self, other); err == nil || !strings.Contains(err.Error(), "belongs to uid 65534") {
		t.Error(err)
	}
}
