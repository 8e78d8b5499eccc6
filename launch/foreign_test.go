package launch

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestTrusted(t *testing.T) {
	_, file, _, _ := runtime.Caller(0)
	if own := filepath.Dir(filepath.Dir(file)); filepath.IsAbs(own) && !trusted(own) {
		t.Errorf("%s, our own module, is not trusted", own)
	}
	dir := t.TempDir()
	if trusted(dir) {
		t.Error("a directory without a module is trusted")
	}
	mod := filepath.Join(dir, "go.mod")
	if err := os.WriteFile(mod, []byte("module example.com/other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if trusted(dir) {
		t.Error("another module is trusted")
	}
	if err := os.WriteFile(mod, []byte("module "+ownModule+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !trusted(dir) {
		t.Error("our module is not trusted")
	}
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(mod, 12345, -1); err != nil {
		t.Fatal(err)
	}
	os.Chown(dir, 12345, -1)
	if trusted(dir) {
		t.Error("the module of another user is trusted")
	}
}

func TestBuildForPlatform(t *testing.T) {
	other := platform{"linux", "arm64"}
	if ownPlatform == other {
		other.Arch = "amd64"
	}
	dir := t.TempDir()
	write := func(text string) {
		for name, text := range map[string]string{"go.mod": "module example.com/prog\n", "main.go": text} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("package main\n\nfunc main() {}\n")
	built, err := build(t.Context(), dir, other)
	if err != nil {
		t.Fatal(err)
	}
	built.remove()
	if (built.header != header{OS: other.OS, Arch: other.Arch}) {
		t.Errorf("built for %v: %+v", other, built.header)
	}
	write("package main\n\nimport \"C\"\n\nfunc main() {}\n")
	if _, err = build(t.Context(), dir, other); err == nil || !strings.Contains(err.Error(), "cannot build it:\nfor "+other.String()+" (without cgo; ") {
		t.Errorf("error %v", err)
	}
}
