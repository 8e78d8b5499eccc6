// Package labtest raises real sshd hosts for a test: it drives the script scripts/lab/lab, one lab for each call of Up.
//
//	l := labtest.Up(t, labtest.Config{Hosts: 4})
//	l.Install("pprun", binary)                        // now every host has /shared/pprun
//	cmd := l.Exec("head", l.Path("pprun"), "--hosts", l.HostsFile(2), "hostname")
//	out, err := cmd.CombinedOutput()
//	l.Host("node3").Crash()
//	l.WaitGone("node1", func(p labtest.Process) bool { return p.Command() == "pprun" }, 10*time.Second)
//
// The launcher under test runs on the host named head, whose root and alice hold a key for every host and know all host
// keys. Hosts have their own network, processes, name, home, /tmp and so on (see `lab --help`); they share one directory.
//
// The test holds a pipe to the lab. When the test ends, or dies in whatever way, the pipe closes, and with it goes every
// process, mount and file of the lab. Labs do not see each other, so tests may run in parallel.
//
// What a machine or a mode cannot do skips the test, naming what is missing; where the environment says CI=true it fails
// it. Every other trouble with the lab is fatal to the test, so no method returns an error. Methods may be called from
// the test's goroutine only, unless they say otherwise; in a subtest use For.
package labtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Mode says what hosts are made of.
type Mode string

const (
	Root     Mode = "root"     // namespaces, made by root: everything works
	UserNS   Mode = "userns"   // namespaces inside a user namespace: one account (alice), no Delay
	Loopback Mode = "loopback" // sshds of the current user on 127.0.x.y; no network faults, one shared file system
)

// Config describes a lab. The zero value is one host and head, in the best mode the machine has.
type Config struct {
	Hosts   int      // node1 .. nodeN; 0 means 1
	Mode    Mode     // empty: the best this machine can do
	Bastion bool     // put the nodes behind a host named bastion
	Users   []string // accounts beside root; empty: alice and bob
	Show    []string // directories of this machine that hosts see, read-only, at the same path
}

// A Lab is a set of running hosts.
type Lab struct {
	t    testing.TB
	dir  string
	n    int
	mode Mode
}

// Up raises a lab and takes it down at the end of the test.
func Up(t testing.TB, c Config) *Lab {
	t.Helper()
	l := &Lab{t: t, n: max(c.Hosts, 1)}
	dir, err := os.MkdirTemp("", "lab-")
	if err != nil {
		t.Fatal(err)
	}
	l.dir = dir
	args := []string{"up", strconv.Itoa(l.n), "--tied"}
	if c.Mode != "" {
		args = append(args, "--mode", string(c.Mode))
	}
	if c.Bastion {
		args = append(args, "--bastion")
	}
	if len(c.Users) > 0 {
		args = append(args, "--users", strings.Join(c.Users, ","))
	}
	for _, d := range c.Show {
		args = append(args, "--show", d)
	}
	l.start(args)
	l.mode = Mode(l.setting("MODE"))
	return l
}

// start runs the lab's keeper, whose input is the pipe that the lab lives by.
func (l *Lab) start(args []string) {
	l.t.Helper()
	cmd := l.command(args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C is the test's, whose end is the lab's
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	cmd.WaitDelay = 5 * time.Second
	life, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		os.RemoveAll(l.dir)
		l.unavailable(fmt.Sprintf("cannot run scripts/lab/lab: %v", err))
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		life.Close()
		werr := cmd.Wait()
		os.RemoveAll(l.dir)
		if err == nil || errors.Is(err, io.EOF) {
			err = werr
		}
		l.check(err, complaint.String())
		l.t.Fatalf("lab up: no lab: %s%s", line, complaint.String())
	}
	l.t.Cleanup(func() {
		life.Close()
		if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			l.t.Errorf("lab down: %v", err)
		}
		if _, err := os.Stat(l.dir); err == nil {
			l.t.Errorf("lab down: %s is still there", l.dir)
		}
	})
}

// For is the same lab, whose troubles and skips end another test: in a subtest, its t.
func (l *Lab) For(t testing.TB) *Lab {
	sub := *l
	sub.t = t
	return &sub
}

// Mode is what the hosts are made of.
func (l *Lab) Mode() Mode { return l.mode }

// Dir is the lab's state directory on this machine. It holds known_hosts, hosts (addresses and names) and keys, where
// keys/root is the private key of root on head.
func (l *Lab) Dir() string { return l.dir }

// Shared is the directory of this machine that all hosts share. There they know it by another name: Path.
func (l *Lab) Shared() string { return filepath.Join(l.dir, "shared") }

// Path is the name by which hosts know the file called name in Shared.
func (l *Lab) Path(name string) string {
	if l.mode == Loopback {
		return filepath.Join(l.Shared(), name)
	}
	return filepath.Join("/shared", name)
}

// Install copies a file of this machine into Shared, executable, and returns its Path.
func (l *Lab) Install(name, from string) string {
	l.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		l.t.Fatal(err)
	}
	to := filepath.Join(l.Shared(), name)
	if err := os.WriteFile(to, data, 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Chmod(to, 0o755); err != nil { // whatever the umask
		l.t.Fatal(err)
	}
	return l.Path(name)
}

// HostsFile writes a hostfile that gives each node the same number of slots, and returns its Path.
func (l *Lab) HostsFile(slots int) string {
	l.t.Helper()
	var b strings.Builder
	for i := range l.n {
		fmt.Fprintf(&b, "node%d slots=%d\n", i+1, slots)
	}
	name := fmt.Sprintf("hosts.%d", slots)
	if err := os.WriteFile(filepath.Join(l.Shared(), name), []byte(b.String()), 0o644); err != nil {
		l.t.Fatal(err)
	}
	return l.Path(name)
}

// Slurm starts Slurm over the hosts: sbatch, on head, gives jobs the nodes, which have so many CPUs each.
func (l *Lab) Slurm(cpus int) { l.t.Helper(); l.do("slurm", strconv.Itoa(cpus)) }

// setting reads one of the choices that the script recorded.
func (l *Lab) setting(name string) string {
	l.t.Helper()
	data, err := os.ReadFile(filepath.Join(l.dir, "settings"))
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(v)
		}
	}
	l.t.Fatalf("labtest: no %s in %s", name, data)
	return ""
}
