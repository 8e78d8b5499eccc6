package launch

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pprun/pprun/launch/agent"
)

func TestAnswer(t *testing.T) {
	const marker = "pprun-1234:"
	for _, c := range []struct{ name, in, want, err string }{
		{"plain", "\npprun-1234:agent /x\n", "agent /x", ""},
		{"noise", "Welcome!\nto node1\n\npprun-1234:want Linux x86_64 gzip\n", "want Linux x86_64 gzip", ""},
		{"noise without an end", "Welcome!\npprun-1234:agent /x\n", "agent /x", ""},
		{"marker amid a line", "x pprun-1234:agent /x\n", "", `"x pprun-1234:agent /x"`},
		{"other marker", "pprun-1235:agent /x\n", "", "did not run /bin/sh"},
		{"cut", "pprun-1234:agen", "", "did not run /bin/sh"},
		{"nothing", "", "", "did not run /bin/sh: "},
		{"too much", strings.Repeat("noise\n", maxNoise/6+1) + "pprun-1234:agent /x\n", "", `it printed "noise noise`},
		{"much", strings.Repeat("noise\n", maxNoise/6-1) + "pprun-1234:agent /x\n", "agent /x", ""},
		{"one long line", strings.Repeat("x", 2*maxNoise), "", "did not run /bin/sh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := answer(bufio.NewReaderSize(strings.NewReader(c.in), maxNoise), marker)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// shell runs the bootstrap with a real shell, whose environment is env.
func shell(t *testing.T, sh []string, env ...string) (r io.Reader, err error) {
	t.Helper()
	if _, err := exec.LookPath(sh[0]); err != nil {
		t.Skipf("no %s", sh[0])
	}
	cmd := exec.Command(sh[0], sh[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return bootstrap(t.Context(), struct {
		io.Reader
		io.Writer
	}{out, in}, func() {})
}

// The test binary stands in for the agent: its first words are a test's output.
func TestBootstrap(t *testing.T) {
	digest, err := agent.Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, sh := range [][]string{{"dash"}, {"bash"}, {"sh"}, {"zsh", "--emulate", "sh"}} {
		t.Run(strings.Join(sh, " "), func(t *testing.T) {
			home := t.TempDir()
			for _, run := range []string{"cold", "warm"} {
				r, err := shell(t, sh, "HOME="+home, "PPRUN_TEST_AGENT=1")
				if err != nil {
					t.Fatalf("%s: %v", run, err)
				}
				b := make([]byte, len(agentWords))
				if _, err := io.ReadFull(r, b); err != nil || string(b) != agentWords {
					t.Errorf("%s: read %q, %v", run, b, err)
				}
			}
			cache := filepath.Join(home, ".cache", "pprun")
			if files, _ := os.ReadDir(cache); len(files) != 1 || files[0].Name() != "agent-"+digest {
				t.Errorf("the cache holds %v", files)
			}
			st, err := os.Stat(cache)
			if err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("mode of the cache: %v, %v", st.Mode(), err)
			}
		})
	}
}

// A directory that others made, or that is a link, is passed over.
func TestBootstrapDistrustsLinks(t *testing.T) {
	home, victim := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(home, ".cache", "pprun")); err != nil {
		t.Fatal(err)
	}
	good := t.TempDir()
	if _, err := shell(t, []string{"sh"}, "HOME="+home, "XDG_RUNTIME_DIR="+good, "PPRUN_TEST_AGENT=1"); err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(victim); len(files) != 0 {
		t.Errorf("the victim's directory holds %v", files)
	}
	if files, _ := os.ReadDir(filepath.Join(good, "pprun")); len(files) != 1 {
		t.Errorf("the good directory holds %v", files)
	}
}

const agentWords = "first frame"

// It does so before the test binary would become an agent.
var _ = func() bool {
	if os.Getenv("PPRUN_TEST_AGENT") != "" && os.Getenv(envMode) == "agent" {
		os.Stdout.WriteString(agentWords)
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	return true
}()

func TestBootstrapScriptFitsOneBlock(t *testing.T) {
	// A shell that reads ahead must have read all of it when it runs the last line.
	if !bytes.HasSuffix([]byte(bootstrapScript), []byte("\nmain; exit 1\n")) {
		t.Error("the last line does not run everything")
	}
}
