package launch

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/pprun/pprun/comm/frame"
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

// A node is not to blame for the time that pprun takes to compress itself.
func TestUploadOfWhatTakesLongToPack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pack := func() ([]byte, error) { time.Sleep(10 * bootstrapTime); return []byte("packed"), nil }
		e := &executable{plain: pack, packed: pack}
		limit := newDeadline(t.Context(), bootstrapTime, func() { t.Error("interrupted") })
		defer limit.end()
		var sent bytes.Buffer
		if err := upload(&sent, e, true, limit.move); err != nil || !strings.HasSuffix(sent.String(), "packed") {
			t.Errorf("%v, sent %q", err, sent.String())
		}
	})
}

// startPiped starts a command to which the test speaks.
func startPiped(t *testing.T, cmd *exec.Cmd) (in io.WriteCloser, out io.ReadCloser) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err = cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return in, out
}

// shell runs the bootstrap with a real shell, whose environment is env. What it has become reads w and writes r.
func shell(t *testing.T, sh []string, env ...string) (r io.Reader, w io.Writer, err error) {
	t.Helper()
	if _, err := exec.LookPath(sh[0]); err != nil {
		t.Skipf("no %s", sh[0])
	}
	cmd := exec.Command(sh[0], sh[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	in, out := startPiped(t, cmd)
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	r, err = bootstrap(t.Context(), struct {
		io.Reader
		io.Writer
	}{out, in}, func() {})
	return r, in, err
}

// greet says hello to an agent.
func greet(w io.Writer) error {
	b, err := cbor.Marshal(agent.Hello{Version: agent.Version, Job: "0123456789abcdef", Host: "node1", Alone: true})
	if err != nil {
		return err
	}
	return frame.Write(w, frame.Header{Kind: agent.KindHello}, b)
}

// The test binary is the agent, as pprun is: see agent/mode.go.
func TestBootstrap(t *testing.T) {
	digest, err := agent.Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, sh := range [][]string{{"dash"}, {"bash"}, {"sh"}, {"zsh", "--emulate", "sh"}} {
		t.Run(strings.Join(sh, " "), func(t *testing.T) {
			home := t.TempDir()
			for _, run := range []string{"cold", "warm"} {
				r, w, err := shell(t, sh, "HOME="+home)
				if err == nil {
					err = greet(w)
				}
				if err != nil {
					t.Fatalf("%s: %v", run, err)
				}
				b := make([]byte, frame.HeaderLen)
				if _, err := io.ReadFull(r, b); err != nil || frame.Parse(b).Kind != agent.KindReady {
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

// A launcher that goes in the midst of its upload leaves no file, and no directory that was made for the next try.
func TestBootstrapCut(t *testing.T) {
	for _, deaf := range []bool{false, true} { // does it hear no more, either
		home, next := t.TempDir(), t.TempDir()
		cmd := exec.Command("sh")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + next}
		sought, err := ownAgent()
		if err != nil {
			t.Fatal(err)
		}
		script := strings.NewReplacer("@DIGEST@", sought.identity, "@NONCE@", "1234", "@SIZE@", "100").Replace(bootstrapScript)
		in, out := startPiped(t, cmd)
		io.WriteString(in, script)
		said := bufio.NewReader(out)
		if words, err := answer(said, "pprun-1234:"); err != nil || !strings.HasPrefix(words, "want ") {
			t.Errorf("%q, %v", words, err)
		}
		if deaf {
			out.Close()
		}
		io.WriteString(in, sought.identity+" 100 50\nnot so much")
		in.Close()
		if words, err := answer(said, "pprun-1234:"); !deaf && (err != nil || !strings.HasPrefix(words, "want ")) { // in the next directory
			t.Errorf("%q, %v", words, err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("the script ends well")
		}
		for _, dir := range []string{filepath.Join(home, ".cache", "pprun"), next} {
			if files, _ := os.ReadDir(dir); len(files) > 0 {
				t.Errorf("left in %s: %v", dir, files)
			}
		}
	}
}

// Whatever others have planted where the agent is kept, or could put there, is passed over and not executed.
func TestBootstrapDistrusts(t *testing.T) {
	digest, err := agent.Identity()
	if err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	for _, c := range []struct {
		name string
		root bool                                  // only root can do it
		do   func(home, cache, agent string) error // in a cache that holds an agent
	}{
		{"link in place of the cache", false, func(home, cache, agent string) error {
			return errors.Join(os.Rename(cache, home+"/elsewhere"), os.Symlink(home+"/elsewhere", cache))
		}},
		{"cache of another", true, func(home, cache, agent string) error { return os.Chown(cache, nobody, nobody) }},
		{"cache for all to write", false, func(home, cache, agent string) error { return os.Chmod(cache, 0o777) }},
		{"cache for the group to write", false, func(home, cache, agent string) error { return os.Chmod(cache, 0o770) }},
		{"cache for all to write, sticky", false, func(home, cache, agent string) error { return os.Chmod(cache, 0o777|os.ModeSticky) }},
		{"parent for all to write", false, func(home, cache, agent string) error { return os.Chmod(home+"/.cache", 0o777) }},
		{"parent for the group to write", false, func(home, cache, agent string) error { return os.Chmod(home, 0o775) }},
		{"parent of another", true, func(home, cache, agent string) error { return os.Chown(home, nobody, nobody) }},
		{"agent of another", true, func(home, cache, agent string) error { return os.Chown(agent, nobody, nobody) }},
		{"agent for all to write", false, func(home, cache, agent string) error { return os.Chmod(agent, 0o777) }},
		{"agent for the group to write", false, func(home, cache, agent string) error { return os.Chmod(agent, 0o770) }},
		{"link in place of the agent", false, func(home, cache, agent string) error {
			return errors.Join(os.Rename(agent, home+"/agent"), os.Symlink(home+"/agent", agent))
		}},
		{"fifo in place of the agent", false, func(home, cache, agent string) error {
			return errors.Join(os.Remove(agent), syscall.Mkfifo(agent, 0o700))
		}},
		{"directory in place of the agent", false, func(home, cache, agent string) error {
			return errors.Join(os.Remove(agent), os.Mkdir(agent, 0o700))
		}},
		{"nothing", false, func(home, cache, agent string) error { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && os.Getuid() != 0 {
				t.Skip("needs root, to make files of another user")
			}
			home, good := t.TempDir(), t.TempDir()
			cache := filepath.Join(home, ".cache", "pprun")
			planted := filepath.Join(cache, "agent-"+digest)
			if err := os.MkdirAll(cache, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(planted, []byte("#!/bin/sh\ntouch "+home+"/executed\nprintf '"+agentWords+"'\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := c.do(home, cache, planted); err != nil {
				t.Fatal(err)
			}
			r, w, err := shell(t, []string{"sh"}, "HOME="+home, "XDG_RUNTIME_DIR="+good)
			if err != nil {
				t.Fatal(err)
			}
			greet(w) // what was planted does not listen
			if _, err := io.ReadFull(r, make([]byte, len(agentWords))); err != nil {
				t.Fatal(err)
			}
			_, err = os.Stat(home + "/executed")
			if executed := err == nil; executed != (c.name == "nothing") {
				t.Errorf("what lay there was executed: %v", executed)
			}
		})
	}
}

// agentWords are those of scripts in an agent's place.
const agentWords = "first frame"

// TestShellsGetNoWords holds what shells on nodes are given to constants, digits and digests: there is nothing in it that
// would have to be quoted. Programs, arguments, variables and names of files travel in frames, byte for byte.
func TestShellsGetNoWords(t *testing.T) {
	if enterShell != "exec /bin/sh" {
		t.Errorf("the login shell is given %q", enterShell)
	}
	var sent bytes.Buffer
	bootstrap(t.Context(), struct {
		io.Reader
		io.Writer
	}{strings.NewReader(""), &sent}, func() {})
	want := strings.NewReplacer("@DIGEST@", "[0-9a-f]{64}", "@NONCE@", "[0-9a-f]{16}", "@SIZE@", "[0-9]+").Replace(regexp.QuoteMeta(bootstrapScript))
	if !regexp.MustCompile("^" + want + "$").Match(sent.Bytes()) {
		t.Errorf("/bin/sh is given\n%s", &sent)
	}
}

func TestBootstrapScriptFitsOneBlock(t *testing.T) {
	// A shell that reads ahead must have read all of it when it runs the last line.
	if !bytes.HasSuffix([]byte(bootstrapScript), []byte("\nmain; exit 1\n")) {
		t.Error("the last line does not run everything")
	}
}
