package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reaches says whether head gets the first bytes of sshd on a host within a time.
func reaches(l *Lab, host string, within time.Duration) bool {
	secs := fmt.Sprintf("%.1f", within.Seconds())
	banner := "read -r line </dev/tcp/" + host + "/22 && [[ $line == SSH-* ]]"
	return l.Exec("head", "timeout", secs, "bash", "-c", banner).Run() == nil
}

func mustReach(t *testing.T, l *Lab, host string) {
	t.Helper()
	for range 10 {
		if reaches(l, host, 2*time.Second) {
			return
		}
	}
	t.Errorf("head does not reach %s", host)
}

func mustNotReach(t *testing.T, l *Lab, host string) {
	t.Helper()
	if reaches(l, host, 300*time.Millisecond) {
		t.Errorf("head reaches %s", host)
	}
}

func fails(t *testing.T, cmd *exec.Cmd, want string) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%q: got %v, %q; want a failure with %q", cmd.Args, err, out, want)
	}
}

// same runs what must hold for hosts made of namespaces, whoever makes them.
func same(t *testing.T, l *Lab) {
	run := func(name string, test func(*testing.T, *Lab, Host)) {
		t.Run(name, func(t *testing.T) { test(t, l.For(t), l.For(t).Host("node1")) })
	}
	run("ssh", func(t *testing.T, l *Lab, node1 Host) {
		for _, user := range []string{"root", "alice"} {
			out, err := l.ExecUser("head", user, "ssh", "node1", "hostname; ls -A /tmp; ls -A /work 2>&-").Output()
			if string(out) != "node1\n" {
				t.Errorf("%s: got %v, %q", user, err, out)
			}
		}
		out, err := l.Exec("head", "ssh", "-tt", "node1", "tty").Output()
		if !strings.HasPrefix(string(out), "/dev/pts/") {
			t.Errorf("tty: %v, %q", err, out)
		}
	})

	run("private", func(t *testing.T, l *Lab, node1 Host) {
		for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm", "/root", "/home", "/run", "/etc", "/var"} {
			l.Output("node1", "touch", dir+"/mine")
			if err := l.Exec("node2", "test", "-e", dir+"/mine").Run(); err == nil {
				t.Errorf("node2 sees node1's %s", dir)
			}
			if _, err := os.Stat(dir + "/mine"); err == nil {
				t.Errorf("this machine sees node1's %s", dir)
			}
		}
	})

	run("shared", func(t *testing.T, l *Lab, node1 Host) {
		l.Output("node1", "cp", "/etc/hostname", "/shared/x")
		got, err := os.ReadFile(filepath.Join(l.Shared(), "x"))
		if string(got) != "node1\n" {
			t.Errorf("here: %v, %q", err, got)
		}
		if got := l.Output("node2", "cat", l.Path("x")); got != "node1" {
			t.Errorf("on node2: %q", got)
		}
		if got := l.Output("node2", "cat", l.HostsFile(3)); got != "node1 slots=3\nnode2 slots=3" {
			t.Errorf("hostfile: %q", got)
		}
		script := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(script, []byte("#!/bin/sh\necho $#: \"$@\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := l.Output("node1", l.Install("script", script), "a b", "", "$c"); got != "3: a b  $c" {
			t.Errorf("installed script: %q", got)
		}
	})

	run("cut", func(t *testing.T, l *Lab, node1 Host) {
		node1.Cut()
		mustNotReach(t, l, "node1")
		mustReach(t, l, "node2")
		node1.Uncut()
		mustReach(t, l, "node1")
	})

	run("drop", func(t *testing.T, l *Lab, node1 Host) {
		for _, d := range []Direction{Both, In, Out} {
			node1.Drop(d)
			mustNotReach(t, l, "node1")
		}
		node1.DropIP(Both)
		mustNotReach(t, l, "node1")
		mustReach(t, l, "node2")
		node1.Undrop()
		mustReach(t, l, "node1")
	})

	run("loss and rate", func(t *testing.T, l *Lab, node1 Host) {
		node1.Loss(100)
		mustNotReach(t, l, "node1")
		node1.Loss(10)
		node1.Rate("10mbit")
		mustReach(t, l, "node1")
		node1.Rate("0")
		node1.Loss(0)
	})

	run("freeze", func(t *testing.T, l *Lab, node1 Host) {
		cmd := l.Exec("node1", "cat")
		in, _ := cmd.StdinPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cat := waitFor(t, l, "node1", "cat", 'S')
		node1.Freeze()
		mustNotReach(t, l, "node1")
		waitFor(t, l, "node1", "cat", 'T')
		node1.Thaw()
		mustReach(t, l, "node1")
		if again := waitFor(t, l, "node1", "cat", 'S'); again.Pid != cat.Pid {
			t.Errorf("before %v, after %v", cat, again)
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("cat after thaw: %v", err)
		}
	})

	run("fs", func(t *testing.T, l *Lab, node1 Host) {
		program := []string{"-c", "cp /bin/true /tmp/true && /tmp/true"}
		l.Output("node1", "sh", program...)
		node1.FS("/tmp", "noexec")
		fails(t, l.Exec("node1", "sh", program...), "Permission denied")
		node1.FS("/tmp", "ro")
		fails(t, l.Exec("node1", "touch", "/tmp/x"), "Read-only file system")
		node1.FS("/tmp", "rw")
		l.Output("node1", "sh", program...)
		node1.FS("/tmp", "size=1m")
		fails(t, l.Exec("node1", "dd", "if=/dev/zero", "of=/tmp/x", "bs=1M", "count=2"), "No space left")
		node1.FS("/mnt", "ro")
		fails(t, l.Exec("node1", "touch", "/mnt/x"), "Read-only file system")
	})

	run("sshd", func(t *testing.T, l *Lab, node1 Host) {
		node1.SSHD("stop")
		fails(t, l.Exec("head", "ssh", "node1", "true"), "Connection refused")
		node1.SSHD("start")
		node1.SSHD("conf", "ForceCommand echo forced")
		if got := l.Output("head", "ssh", "node1", "hostname"); got != "forced" {
			t.Errorf("conf: %q", got)
		}
		node1.SSHD("conf")
		node1.Shell("alice", "/bin/false")
		fails(t, l.Exec("head", "ssh", "alice@node1", "true"), "")
	})

	run("kill and boot", func(t *testing.T, l *Lab, node1 Host) {
		node1.Kill()
		if ps := l.Processes("node1"); len(ps) > 0 {
			t.Errorf("after kill: %v", ps)
		}
		node1.Boot()
		mustReach(t, l, "node1")
		l.Output("node1", "touch", "/tmp/before")
		node1.Cut()
		node1.Loss(100)
		node1.Crash()
		mustNotReach(t, l, "node1")
		node1.Boot()
		mustReach(t, l, "node1")
		if got := l.Output("node1", "ls", "/tmp"); got != "" {
			t.Errorf("/tmp after boot: %q", got)
		}
	})
}

func TestRoot(t *testing.T) {
	t.Parallel()
	l := Up(t, Config{Hosts: 2, Mode: Root})
	same(t, l)

	t.Run("accounts", func(t *testing.T) {
		l := l.For(t)
		if got := l.Output("head", "ssh", "node2", "id -un; stat -c %U /home/*"); got != "root\nalice\nbob" {
			t.Errorf("got %q", got)
		}
	})

	t.Run("delay", func(t *testing.T) {
		l := l.For(t)
		const delay = 40 * time.Millisecond
		l.Host("node2").Delay(delay)
		begin := time.Now()
		mustReach(t, l, "node2")
		if d := time.Since(begin); d < 2*delay {
			t.Errorf("an answer after %v in spite of a delay of %v each way", d, delay)
		}
		l.Host("node2").Delay(0)
		mustReach(t, l, "node2")
	})
}

func TestUserNS(t *testing.T) {
	t.Parallel()
	same(t, Up(t, Config{Hosts: 2, Mode: UserNS}))
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	l := Up(t, Config{Hosts: 2, Mode: Loopback})
	node1 := l.Host("node1")
	ssh := func(command string) (string, error) {
		out, err := l.Exec("head", "ssh", "node1", command).CombinedOutput()
		return strings.TrimSuffix(string(out), "\n"), err
	}
	if got, err := ssh("echo $LAB_HOST"); filepath.Base(got) != "node1" {
		t.Errorf("%v, %q", err, got)
	}
	if got := l.Output("node2", "cat", l.HostsFile(1)); got != "node1 slots=1\nnode2 slots=1" {
		t.Errorf("hostfile: %q", got)
	}

	if got, err := ssh("sleep 1000 </dev/null >/dev/null 2>&1 & echo started"); got != "started" {
		t.Fatalf("%v, %q", err, got)
	}
	waitFor(t, l, "node1", "sleep", 'S')
	node1.Freeze()
	waitFor(t, l, "node1", "sleep", 'T')
	node1.Thaw()
	waitFor(t, l, "node1", "sleep", 'S')
	if ps := l.Processes("node2"); len(ps) > 0 {
		t.Errorf("node2 has processes: %v", ps)
	}
	node1.Kill()
	if ps := l.Processes("node1"); len(ps) > 0 {
		t.Errorf("after kill: %v", ps)
	}
	if got, err := ssh("true"); err == nil || !strings.Contains(got, "Connection refused") {
		t.Errorf("after kill: %v, %q", err, got)
	}
	node1.Boot()
	node1.SSHD("conf", "ForceCommand echo forced")
	if got, err := ssh("true"); got != "forced" {
		t.Errorf("conf: %v, %q", err, got)
	}
}

func TestBastion(t *testing.T) {
	t.Parallel()
	l := Up(t, Config{Hosts: 1, Mode: Root, Bastion: true, Users: []string{"carol"}})
	fails(t, l.Exec("head", "ssh", "node1", "true"), "Could not resolve hostname")
	fails(t, l.Exec("head", "ssh", l.Host("node1").Addr(), "true"), "Network is unreachable")
	out, err := l.ExecUser("head", "carol", "ssh", "-J", "bastion", "node1", "hostname; id -un").Output()
	if string(out) != "node1\ncarol\n" {
		t.Errorf("through bastion: %v, %q", err, out)
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("seen"), 0o644); err != nil {
		t.Fatal(err)
	}
	l := Up(t, Config{Mode: Root, Show: []string{dir}})
	if got := l.Output("node1", "cat", filepath.Join(dir, "x")); got != "seen" {
		t.Errorf("got %q", got)
	}
	fails(t, l.Exec("node1", "touch", filepath.Join(dir, "y")), "Read-only file system")
}

// waitFor waits for a process of a host to be in a state.
func waitFor(t *testing.T, l *Lab, host, command string, state byte) Process {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, p := range l.Processes(host) {
			if p.Command() == command && p.State == state {
				return p
			}
		}
	}
	t.Fatalf("%s has no %s in state %c: %v", host, command, state, l.Processes(host))
	return Process{}
}

func TestExec(t *testing.T) {
	t.Parallel()
	heeded := make(chan os.Signal, 1)
	signal.Notify(heeded, syscall.SIGINT) // by what is started here, too, where scripts run this in the background
	defer signal.Stop(heeded)
	l := Up(t, Config{})
	const trap = "trap 'exit 7' INT; trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done"
	for _, test := range []struct {
		name string
		send func(*exec.Cmd) error
		want string
	}{
		{"signal to the command", func(c *exec.Cmd) error { return Signal(c, syscall.SIGTERM) }, "exit status 8"},
		{"Ctrl-C", func(c *exec.Cmd) error { return syscall.Kill(-c.Process.Pid, syscall.SIGINT) }, "exit status 7"},
		{"kill", func(c *exec.Cmd) error { return c.Process.Kill() }, "signal: killed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := l.For(t)
			cmd := l.Exec("node1", "bash", "-c", trap)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			out, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
			if err := test.send(cmd); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			l.WaitGone("node1", func(p Process) bool { return p.Command() == "bash" }, 10*time.Second)
		})
	}
}
