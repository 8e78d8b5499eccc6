package launch

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnamePlatform(t *testing.T) {
	for _, c := range []struct{ system, machine, want string }{
		{"Linux", "x86_64", "linux/amd64"},
		{"Linux", "aarch64", "linux/arm64"},
		{"Linux", "armv7l", "linux/arm"},
		{"Linux", "i686", "linux/386"},
		{"Linux", "riscv64", "linux/riscv64"},
		{"Darwin", "arm64", "darwin/arm64"},
		{"FreeBSD", "amd64", "freebsd/amd64"},
		{"Linux", "../../x", ""},
		{"SunOS", "i86pc;x", ""},
		{"CYGWIN_NT-10.0", "x86_64", ""},
	} {
		p, err := unamePlatform(c.system, c.machine)
		if (err == nil) != (c.want != "") || err == nil && p.String() != c.want {
			t.Errorf("%s %s: %v, %v, want %q", c.system, c.machine, p, err, c.want)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	for text, ok := range map[string]bool{
		"linux/arm64": true, "darwin/amd64": true, "linux": false, "/arm64": false, "linux/": false, "linux/arm64/v8": false, "linux/..": false, "": false,
	} {
		if p, err := parsePlatform(text); (err == nil) != ok || ok && p.String() != text {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
}

// A node of another platform gets the agent for that platform once. Its uname is a fake here, and the agent a script.
func TestBootstrapForeign(t *testing.T) {
	strange := platform{"linux", "s390x"}
	file := filepath.Join(t.TempDir(), "pprun-linux-s390x")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nprintf '"+agentWords+"'\ncat >/dev/null\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	e, err := openExecutable(file)
	if err != nil {
		t.Fatal(err)
	}
	foreign.mu.Lock()
	foreign.all[strange] = found{agent: e}
	foreign.all[platform{"plan9", "mips"}] = found{err: errors.New("is plan9/mips")}
	foreign.mu.Unlock()

	bin, home := t.TempDir(), t.TempDir()
	uname := func(says string) {
		if err := os.WriteFile(filepath.Join(bin, "uname"), []byte("#!/bin/sh\necho "+says+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + home}
	uname("Linux s390x")
	cached := filepath.Join(home, ".cache", "pprun", "agent-"+e.identity)
	for _, run := range []string{"cold", "warm"} {
		r, _, err := shell(t, []string{"sh"}, env...)
		if err != nil {
			t.Fatalf("%s: %v", run, err)
		}
		b := make([]byte, len(agentWords))
		if _, err := io.ReadFull(r, b); err != nil || string(b) != agentWords {
			t.Errorf("%s: read %q, %v", run, b, err)
		}
		if run == "cold" { // the warm run must find this very file
			if err := os.WriteFile(cached, []byte("#!/bin/sh\nprintf '"+agentWords+"'\ncat >/dev/null; # warm\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		} else if b, _ := os.ReadFile(cached); !strings.HasSuffix(string(b), "# warm\n") {
			t.Error("the agent was sent again")
		}
	}
	uname("Plan9 mips")
	if _, _, err := shell(t, []string{"sh"}, env...); err == nil || err.Error() != "is plan9/mips" {
		t.Errorf("error %v", err)
	}
}
