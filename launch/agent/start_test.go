//go:build linux

package agent

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	programs["eat"] = func() { // until the memory is used up
		var all [][]byte
		for range 1 << 10 {
			all = append(all, bytes.Repeat([]byte{1}, 1<<20))
		}
		fmt.Println(len(all))
	}
}

func TestStartFailures(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	foreign[18], foreign[19] = byte(elf.EM_S390), 0
	plain := write("plain", "echo\n", 0o600)
	for _, c := range []struct {
		name string
		edit func(*Start)
		code int
		want string
	}{
		{"missing", func(s *Start) { s.Program.Path = "/no/such" }, 127, "/no/such on here: no such file"},
		{"relative", func(s *Start) { s.Program.Path = "./no-such" }, 127, "/tmp/no-such on here: no such file"},
		{"directory", func(s *Start) { s.Program.Path = dir }, 126, dir + " on here: is a directory"},
		{"mode", func(s *Start) { s.Program.Path = plain }, 126, plain + " on here: not executable"},
		{"bare", func(s *Start) { s.Program.Path = "no-such-thing" }, 127, "no-such-thing on here: not found on PATH"},
		{"path", func(s *Start) { s.Program.Path, s.Env = "sh", []string{"PATH=" + dir} }, 127, "sh on here: not found on PATH"},
		{"bare mode", func(s *Start) { s.Program.Path, s.Env = "plain", []string{"PATH=" + dir} }, 126, plain + " on here: not executable"},
		{"empty", func(s *Start) { s.Program.Path = write("empty", "", 0o700) }, 126, "is empty"},
		{"text", func(s *Start) { s.Program.Path = write("text", "echo\n", 0o700) }, 126, "has no #! line"},
		{"crlf", func(s *Start) { s.Program.Path = write("crlf", "#!/bin/sh\r\n", 0o700) }, 126, "#! line ends in CR"},
		{"interpreter", func(s *Start) { s.Program.Path = write("i", "#!/no/such\n", 0o700) }, 127, "interpreter /no/such is not there"},
		{"machine", func(s *Start) { s.Program.Path = write("s390", string(foreign), 0o700) }, 126, "is a program for s390 machines, the node is linux/"},
		{"dir", func(s *Start) { s.Dir = "/no/such/dir" }, 125, "working directory /no/such/dir on here: no such file or directory"},
		{"dir is a file", func(s *Start) { s.Dir = plain }, 125, "not a directory"},
		{"NUL", func(s *Start) { s.Args = []string{"a\x00b"} }, 64, "argument 1 contains a NUL byte"},
		{"long", func(s *Start) { s.Args = []string{"", strings.Repeat("x", 128<<10)} }, 64, "argument 2 has 131072 bytes: want at most 131071"},
		{"long env", func(s *Start) { s.Env = []string{"BIG=" + strings.Repeat("x", 128<<10)} }, 64, "environment variable BIG has 131076 bytes"},
		{"many", func(s *Start) { s.Args = slices.Repeat([]string{strings.Repeat("x", 1000)}, 9000) }, 64, "bytes: want at most "},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := launchAgent(t)
			l.hello(time.Second)
			s := sh(2, "echo never")
			c.edit(&s)
			l.send(KindStart, s)
			l.wait("failure", func() bool { return len(l.fails) > 0 })
			if f := l.fails[0]; f.Code != c.code || !strings.Contains(f.Text, c.want) {
				t.Errorf("got %+v, want %q", f, c.want)
			}
			l.bye()
			if len(l.out)+len(l.exits) > 0 {
				t.Errorf("something ran: %v %v", l.out, l.exits)
			}
		})
	}
}

// Ranks that are held start at go, and not at all if the job ends instead.
func TestHeldRanks(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(*launcher)
		runs int
	}{
		{"go", func(l *launcher) { l.sendID(KindGo, 0); l.exited(2) }, 2},
		{"kill", func(l *launcher) {
			l.sendID(KindKill, 0)
			l.wait("failure", func() bool { return len(l.fails) > 0 })
		}, 0},
		{"bye", func(*launcher) {}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := launchAgent(t)
			l.hello(time.Second)
			s := sh(2, "echo ran")
			s.Held = true
			l.send(KindStart, s)
			l.wait("able", func() bool { return l.values[KindAble] != nil })
			c.then(l)
			l.bye()
			if len(l.out) != c.runs || len(l.exits) != c.runs {
				t.Errorf("%d ranks ran, want %d: %v %v", len(l.exits), c.runs, l.out, l.exits)
			}
		})
	}
}

func TestRankSurroundings(t *testing.T) {
	long := "/tmp/pprun-agent-test-" + strings.Repeat("x", 100)
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(long) })
	l := launchAgent(t, "NODE_ONLY=1", "XDG_THING=node", "LD_THING=node", "PPRUN_MODE=agent", "TMPDIR="+long)
	l.hello(time.Second)
	s := sh(1, `echo "$PWD $(pwd) $(ulimit -n) $NODE_ONLY.$XDG_THING.$LD_THING.$FOO.$PPRUN_MODE.$GOMAXPROCS"; ls -d "${PPRUN_AGENT%/agent}"`)
	s.Dir, s.DirGiven = "/no/such/dir", false
	s.Env = []string{"FOO=first", "FOO=caller", "LD_THING=named", "GOMAXPROCS=9"}
	l.start(s)
	l.exited(1)
	lines := strings.Split(l.out[0].String(), "\n")
	limit, err := exec.Command("sh", "-c", "ulimit -n").Output() // Go gives children the soft limit back that it has raised
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(lines[0])
	if len(f) != 4 || f[0] != f[1] || !strings.HasPrefix(f[0], long+"/pprun-"+l.job) || f[2] != strings.TrimSpace(string(limit)) || f[3] != ".node.named.caller..9" {
		t.Errorf("got %q", lines[0])
	}
	if !strings.HasPrefix(lines[1], "/tmp/pprun-"+l.job) {
		t.Errorf("sockets in %q", lines[1])
	}
	l.bye()
}

func TestRankEnv(t *testing.T) {
	node := []string{"HOME=/n", "FOO=n", "PWD=/old", "OLDPWD=/older", "SLURM_JOB_ID=1", "PPRUN_RANK=3", "PATH=/bin"}
	for _, c := range []struct {
		set  []string
		all  bool
		want string
	}{
		{nil, false, "HOME=/n SLURM_JOB_ID=1 PATH=/bin PWD=/d"},
		{nil, true, "HOME=/n FOO=n SLURM_JOB_ID=1 PATH=/bin PWD=/d"},
		{[]string{"HOME=/c", "PWD=/c", "A=1", "A=2"}, false, "A=2 HOME=/c SLURM_JOB_ID=1 PATH=/bin PWD=/d"},
	} {
		if got := strings.Join(rankEnv(node, c.set, c.all, "/d"), " "); got != c.want {
			t.Errorf("%q, all %v: got %q, want %q", c.set, c.all, got, c.want)
		}
	}
	for name, want := range map[string]bool{"HOME": true, "XDG_RUNTIME_DIR": true, "SSH_AUTH_SOCK": true, "SLURM_PROCID": true, "PE_HOSTFILE": true,
		"GOMAXPROCS": false, "LANG": false, "HOMEBREW": false, "LDFLAGS": false} {
		if NodeKeeps(name) != want {
			t.Errorf("NodeKeeps(%q) = %v", name, !want)
		}
	}
}

func TestKillIsHastened(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Hour)
	l.start(sh(2, `trap '' TERM; echo up; [ $PPRUN_RANK = 0 ] || { sleep 1000 >/dev/null 2>&1 & exit 0; }; while :; do sleep 0.05; done`))
	l.wait("ranks to be up", func() bool { return len(l.out) == 2 })
	l.sendID(KindKill, 3_600_000)
	l.sendID(KindKill, 10)
	if x := l.exited(2)[0]; x.Signal != int(syscall.SIGKILL) {
		t.Errorf("%+v", x)
	}
	l.bye()
}

func TestKillAfterBye(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Hour)
	l.start(sh(1, `(trap '' TERM; while :; do sleep 1; done) >/dev/null 2>&1 &`))
	l.exited(1)
	l.sendID(KindBye, 0)
	l.sendID(KindKill, 0)
	l.wait("done", func() bool { return l.values[KindDone] != nil })
	l.nothingLeft()
}

func TestLauncherGoneAfterBye(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(1, "echo up; sleep 1000"))
	l.said(0, 1)
	l.sendID(KindBye, 0)
	l.conn.Close()
	l.nothingLeft()
}

func TestMissingLibrary(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "lib.c"), []byte("int f(void){return 0;}"), 0o600)
	os.WriteFile(filepath.Join(dir, "main.c"), []byte("int f(void); int main(){return f();}"), 0o600)
	for _, args := range [][]string{{"-shared", "-o", "libzz9.so", "lib.c"}, {"-o", "prog", "main.c", "-L.", "-lzz9"}} {
		cmd := exec.Command("gcc", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for path, want := range map[string]string{filepath.Join(dir, "prog"): "no libzz9.so there", "/bin/sh": "", os.Args[0]: ""} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		a := &agent{host: "here"}
		if err := a.inspect(f, path, ""); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestOutOfMemory(t *testing.T) {
	group := filepath.Join("/sys/fs/cgroup/memory", "agent-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("needs a memory control group (version 1) that this user may divide: %v", err)
	}
	defer until(t, "the control group to empty", func() bool { return os.Remove(group) == nil })
	if err := os.WriteFile(filepath.Join(group, "memory.limit_in_bytes"), []byte("100M"), 0); err != nil {
		t.Skip(err)
	}
	os.WriteFile(filepath.Join(group, "memory.memsw.limit_in_bytes"), []byte("100M"), 0)
	l := launchAgent(t)
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(l.cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	l.hello(time.Second)
	l.start(testProgram(1, "eat"))
	if x := l.exited(1)[0]; x.Signal != int(syscall.SIGKILL) || !x.OOM || x.OOMLimit != 100<<20 || x.Killed {
		t.Errorf("%+v", x)
	}
	l.bye()
}
