package launch

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

// fake writes a command of the shape CMD HOST COMMAND, whose script knows them as $1 and $2.
func fake(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fake")
	syscall.ForkLock.RLock() // a child that inherits the open file would keep the fake from being executed (golang/go#22315)
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// reach launches one node by a command.
func reach(t *testing.T, c *commandLauncher, n hostfile.Node) (conn io.ReadWriteCloser, err error) {
	t.Helper()
	failed := c.Launch(t.Context(), []hostfile.Node{n}, func(_ int, got io.ReadWriteCloser, e error) { conn, err = got, e })
	if conn != nil {
		t.Cleanup(func() { conn.Close() })
	}
	if failed != nil {
		return nil, failed
	}
	return conn, err
}

// Whatever the command does wrong, one line says so, and nothing is left of it.
func TestCommandMisbehaves(t *testing.T) {
	tool := func(name, script string) string { // puts it before the system's, and the cache beside it
		return "export HOME=$PWD XDG_RUNTIME_DIR= XDG_CACHE_HOME= PATH=$PWD/bin:$PATH; mkdir bin; echo '" + script + "' >bin/" + name + "; chmod 755 bin/*; "
	}
	for _, c := range []struct{ name, script, want string }{
		{"nothing, status 0", `exit 0`, `^fake: ended before the agent ran \(exit status 0\)$`},
		{"nothing, status 255", `echo fake: cannot reach $1 >&2; exit 255`, `^fake: ended before the agent ran \(exit status 255\): fake: cannot reach node1$`},
		{"nothing, killed", `kill -9 $$`, `^fake: ended before the agent ran \(signal: killed\)$`},
		{"noise, status 0", `echo welcome to $1`, `^fake: ended before the agent ran \(exit status 0\), it printed "welcome to node1"$`},
		{"echo", `cat`, `^fake: no answer from /bin/sh for 1s, it printed "# pprun: .*": does`},
		{"hang", `echo wait >&2; exec sleep 1000`, `^fake: no answer from /bin/sh for 1s: does .*: wait$`},
		{"hang with children", `trap '' TERM HUP; sleep 1000 & sleep 1000`, `^fake: no answer from /bin/sh for 1s: does it wait for something, or a start-up file of the login shell\?$`},
		{"hang after noise", `printf Password:; exec sleep 1000`, `^fake: no answer from /bin/sh for 1s, it printed "Password:": does .*\?$`},
		{"closed stdout", `exec >&-; exec sleep 1000`, `^fake: closed its output before the agent ran$`},
		{"flood", `exec yes`, `^fake: did not run /bin/sh, it printed "y y y .*"$`},
		{"flood without lines", `exec cat /dev/zero`, `^fake: did not run /bin/sh, it printed ".*"$`},
		{"hang in upload", tool("head", "exec sleep 1000") + `eval "$2"`, `^fake: no answer from /bin/sh for 1s: does it wait for something, or a start-up file of the login shell\?$`},
		{"end in upload", tool("head", "kill -9 $PPID") + `eval "$2"`, `^fake: ended before the agent ran \(signal: killed\)$`},
		{"end of input in upload", tool("head", "exit 0") + `eval "$2"`, `^fake: ended before the agent ran \(exit status 1\)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := fake(t, "cd ${0%/*} || exit\necho $$ >pid\n"+c.script)
			patience := time.Minute
			if strings.Contains(c.want, "for 1s") {
				patience = time.Second
			}
			_, err := reach(t, &commandLauncher{Line: path, patience: patience}, hostfile.Node{Host: "node1"})
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.ReplaceAll(err.Error(), path, "fake")
			if !regexp.MustCompile(c.want).MatchString(got) || strings.Contains(got, "\n") {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
			pid, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "pid"))
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the killed need a moment
				out, _ := exec.Command("ps", "-o", "state=,args=", "-s", strings.TrimSpace(string(pid))).Output()
				left := slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool { return line == "" || line[0] == 'Z' })
				if len(left) == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("left: %q", left)
				}
			}
		})
	}
}

// So it is where the command is known to have ended before the launcher writes.
func TestCommandHasEnded(t *testing.T) {
	conn, err := startCommand(exec.Command("sh", "-c", "exit 1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	<-conn.ended
	_, err = io.WriteString(conn.raw(), "agent")
	if err = conn.explain(fmt.Errorf("upload: %w", err), time.Minute, true); err.Error() != "ended before the agent ran (exit status 1)" {
		t.Error(err)
	}
}

// A command that ends in the middle of the agent's words says why at the end of the stream.
func TestCommandDies(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	path := fake(t, `sh -c "$2"; printf half; echo connection lost >&2; exit 255`)
	conn, err := reach(t, &commandLauncher{Line: path}, hostfile.Node{Host: "node1"})
	if err != nil {
		t.Fatal(err)
	}
	conn.(*commandConn).stdin.Close() // ends the agent
	_, _, err = agent.NewConn(conn).Next()
	if want := "its agent is gone: " + path + " ended (exit status 255): connection lost"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestCommandLine(t *testing.T) {
	show := fake(t, `echo "$#:$*" >&2; exit 1`)
	for _, c := range []struct {
		line string
		node hostfile.Node
		want string
	}{
		{show, hostfile.Node{Host: "node1"}, `2:node1 exec /bin/sh`},
		{" " + show + "  -o 'x $y' ", hostfile.Node{Host: "node1", User: "bob"}, `5:-o 'x $y' bob@node1 exec /bin/sh`},
		{show, hostfile.Node{Host: "node1", Port: 2222}, "port 2222 cannot be told to the command of --ssh"},
		{show, hostfile.Node{Host: "-oProxyCommand=x"}, `host name "-oProxyCommand=x": want `},
		{show, hostfile.Node{Host: "a", User: "-x"}, `user name "-x": want `},
		{"/no/such x", hostfile.Node{Host: "node1"}, "--ssh /no/such: stat /no/such: no such file or directory"},
		{"no-such-command", hostfile.Node{Host: "node1"}, "--ssh no-such-command: executable file not found in $PATH"},
		{" ", hostfile.Node{Host: "node1"}, "--ssh: want a command"},
	} {
		if _, err := reach(t, &commandLauncher{Line: c.line}, c.node); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.line, err, c.want)
		}
	}
}

func TestCommandCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	c := &commandLauncher{Line: fake(t, "exec sleep 1000")}
	c.Launch(ctx, []hostfile.Node{{Host: "node1"}}, func(_ int, _ io.ReadWriteCloser, err error) {
		if err == nil || !strings.HasSuffix(err.Error(), context.Canceled.Error()) {
			t.Errorf("%v", err)
		}
	})
}
