package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestReproducible builds pprun from copies of the source in two places: the bytes are the same and name neither.
func TestReproducible(t *testing.T) {
	build := func(dir string) []byte {
		for _, part := range []string{"launch", "comm", "ssh", "hostfile", "cmd"} {
			if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(root, part))); err != nil {
				t.Fatal(err)
			}
		}
		for _, file := range []string{"go.mod", "go.sum"} {
			b, err := os.ReadFile(filepath.Join(root, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		out := filepath.Join(t.TempDir(), "pprun")
		cmd := exec.Command("go", "build", "-C", dir, "-trimpath", "-buildvcs=false", "-o", out, "./cmd/pprun")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, said)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(dir)) {
			t.Errorf("the program names %s", dir)
		}
		return b
	}
	here, there := build(t.TempDir()), build(filepath.Join(t.TempDir(), "a", "longer", "path"))
	if !bytes.Equal(here, there) {
		t.Errorf("%d and %d bytes, which are not the same", len(here), len(there))
	}
	_, source, _, _ := runtime.Caller(0)
	if !filepath.IsAbs(source) { // this test was built so, too
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(self); err != nil || !bytes.Contains(b, []byte(filepath.Dir(source))) {
		t.Errorf("this test, which is not built so, does not name %s: it would see nothing (%v)", filepath.Dir(source), err)
	}
}
