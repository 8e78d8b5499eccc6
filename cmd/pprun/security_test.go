package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

// TestSecurity attacks jobs on real hosts: as root where it looks for what must not be seen, as nobody where somebody
// attacks. .github/SECURITY.md says what each T promises. A check that finds nothing is worth something only if it can
// find: each runs against a job that does what it forbids, too.
func TestSecurity(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := lab{Lab: labtest.Up(t, labtest.Config{Hosts: 2}), t: t}
	if l.Mode() != labtest.Root {
		t.Skip("needs root, which becomes other users: root mode only")
	}
	l.pprun, l.hosts = l.Install("pprun", exe), l.HostsFile(2)
	for _, c := range []struct {
		name string
		f    func(*testing.T, lab)
	}{
		{"T1 secrets", secrets},
		{"T2 sockets of a job on one host", sockets},
		{"T2 another user", otherUsers},
		{"T1 cores", cores},
		{"T3 network", neighbours},
		{"T4 planted files", planted},
		{"T5 host keys", hostKeys},
		{"T10 hosts files", hostileHosts},
		{"T10 arguments", oddArguments},
		{"T10 own configuration", ownConfiguration},
		{"T11 ssh agent", forwardedAgent},
		{"T9 flood", floodingRank},
		{"T7 sniffer", func(t *testing.T, l lab) { sniffed(t, l, "--host", "node1:2,node2:1") }},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, l.in(t)) })
	}
}

// --- the job that is attacked ---------------------------------------------------------------------------------------

var hear = comm.Register("hear", func(ctx context.Context, secret string) (int, error) { return len(secret), nil })

// beVictim is a job whose tasks have a random argument, which rank 0 prints when all ranks have had it. It then waits for
// the end of its input. Its faults are what the tests must find.
func beVictim(faults []string) {
	comm.Main(func(ctx context.Context, c *comm.Comm) error {
		b := make([]byte, 16)
		rand.Read(b)
		secret := hex.EncodeToString(b)
		if _, err := hear.OnAll(ctx, secret); err != nil {
			return err
		}
		var key []byte // on one host there is none
		if keys := privateKeys(memory("/proc/self")); len(keys) > 0 {
			key = keys[0]
		}
		for _, f := range faults {
			end, err := leak(f, key)
			if err != nil {
				return err
			}
			defer end()
		}
		fmt.Println(secret)
		io.Copy(io.Discard, os.Stdin)
		return nil
	})
}

// victim is a victim that runs.
type victim struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	secret string        // its tasks' argument
	stderr *bytes.Buffer // complete after end
}

// victim starts pprun with these arguments and waits until its tasks have run.
func (l lab) victim(host string, args ...string) *victim {
	l.t.Helper()
	v := &victim{t: l.t, cmd: l.Exec(host, l.pprun, args...), stderr: &bytes.Buffer{}}
	v.cmd.Stderr = v.stderr
	stdin, err := v.cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	stdout, err := v.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	v.stdin = stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		v.cmd.Wait()
		l.t.Fatalf("the job prints %q: %v: %s", line, err, v.stderr)
	}
	v.secret = strings.TrimSpace(line)
	return v
}

// end ends the job, which must have worked, and returns what pprun said.
func (v *victim) end() string {
	v.t.Helper()
	v.stdin.Close()
	if err := v.cmd.Wait(); err != nil {
		v.t.Errorf("the job: %v: %s", err, v.stderr)
	}
	return v.stderr.String()
}

// --- T2: on one host there is nothing to connect to -----------------------------------------------------------------

func sockets(t *testing.T, l lab) {
	for _, c := range []struct{ fault, found string }{
		{"", ""},
		{"listen tcp 127.0.0.1:0", "tcp"},
		{"listen tcp [::]:0", "tcp6"},
		{"listen udp 0.0.0.0:0", "udp"},
		{"listen unix @pprun-test", "@pprun-test"},
		{"listen unix /tmp/open", "/tmp/open: others may look into /tmp"},
	} {
		t.Run("fault "+c.fault, func(t *testing.T) {
			l := l.in(t)
			before := l.doors("node1")
			v := l.victim("node1", "-n", "4", l.pprun, "victim", c.fault)
			var found []string
			for _, d := range l.doors("node1") {
				if !slices.Contains(before, d) && !l.closed("node1", d) {
					found = append(found, d)
				}
			}
			v.end()
			if (len(found) > 0) != (c.fault != "") || !strings.Contains(strings.Join(found, "\n")+": others may look into /tmp", c.found) {
				t.Errorf("found the sockets %q, want %q", found, c.found)
			}
		})
	}
}

// doors lists what listens in a host's network: tcp, udp, unix and their addresses. Abstract sockets begin with @.
func (l lab) doors(host string) (doors []string) {
	l.t.Helper()
	for _, network := range []string{"tcp", "tcp6", "udp", "udp6", "unix"} {
		b, err := os.ReadFile(filepath.Join(l.Root(host), "proc/1/net", network))
		if err != nil {
			l.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			switch f := strings.Fields(line); {
			case network == "unix" && len(f) == 8 && f[3] == "00010000": // flags: it accepts
				doors = append(doors, "unix "+f[7])
			case network != "unix" && len(f) > 3 && (f[3] == "0A" || f[3] == "07"): // it listens; udp knows but one state
				doors = append(doors, network+" "+f[1])
			}
		}
	}
	return doors
}

// closed says whether a door is a socket in a directory into which only root can look.
func (l lab) closed(host, door string) bool {
	path, ok := strings.CutPrefix(door, "unix /")
	if !ok {
		return false
	}
	st, err := os.Stat(filepath.Join(l.Root(host), filepath.Dir(path)))
	return err == nil && st.Mode().Perm() == 0o700 && st.Sys().(*syscall.Stat_t).Uid == 0
}

// otherUsers connects as nobody to every socket of a job, also when its directory has been opened to all.
func otherUsers(t *testing.T, l lab) {
	before := l.doors("node1")
	v := l.victim("node1", "-n", "4", l.pprun, "victim")
	var paths []string
	for _, d := range l.doors("node1") {
		if path, ok := strings.CutPrefix(d, "unix "); ok && !slices.Contains(before, d) {
			paths = append(paths, path)
		}
	}
	if len(paths) != 2 {
		t.Errorf("sockets %q, want the agent's and the hub's", paths)
	}
	for _, path := range paths {
		if got := l.asNobody("node1", "knock", path); !strings.Contains(got, "permission denied") {
			t.Errorf("%s: nobody has %q, want permission denied", path, got)
		}
		l.Output("node1", "chmod", "755", filepath.Dir(path))
		l.Output("node1", "chmod", "777", path)
		if got := l.asNobody("node1", "knock", path); got != "0 bytes" {
			t.Errorf("%s, open to all: nobody has %q, want 0 bytes", path, got)
		}
		if got := l.Output("node1", l.pprun, "attacker", "knock", path); got == "0 bytes" || !strings.HasSuffix(got, " bytes") {
			t.Errorf("%s: the user has %q, want an answer: this test sees nothing", path, got)
		}
	}
	said := v.end()
	for _, want := range []string{"the peer runs as uid 65534, this process as 0", "the hub turns away a process of this machine: it runs as uid 65534"} {
		if !strings.Contains(said, want) {
			t.Errorf("pprun says %q, want %q", said, want)
		}
	}
}

// --- T1: cores ------------------------------------------------------------------------------------------------------

// cores looks whether the kernel would write one: what it would not belongs to root in /proc.
func cores(t *testing.T, l lab) {
	r := l.finish(l.ExecUser("node1", "alice", l.pprun, "-n", "1", "sh", "-c",
		`stat -c %U /proc/$PPID/environ /proc/$$/environ; tr '\0' ' ' </proc/$PPID/cmdline; ulimit -c unlimited`))
	r.want(t, 0, `^$`)
	if want := "root\nalice\npprun agent --fd"; !strings.HasPrefix(r.stdout, want) {
		t.Errorf("agent and rank are of %q, want %q", r.stdout, want)
	}
}

// --- T3: strangers from the network ---------------------------------------------------------------------------------

func neighbours(t *testing.T, l lab) {
	before := l.doors("node1")
	j := l.steady("head", "--respawn", "10", "--host", "node1:1,node2:1")
	var ip [4]byte
	if _, err := fmt.Sscanf(l.Host("node1").Addr(), "%d.%d.%d.%d", &ip[0], &ip[1], &ip[2], &ip[3]); err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("tcp %02X%02X%02X%02X:", ip[3], ip[2], ip[1], ip[0])
	var addrs []string
	for _, d := range l.doors("node1") {
		if slices.Contains(before, d) || l.closed("node1", d) {
			continue
		}
		var port int
		if rest, ok := strings.CutPrefix(d, own); !ok {
			t.Errorf("the job listens at %s, want only %s", d, own)
		} else if fmt.Sscanf(rest, "%X", &port); port > 0 {
			addrs = append(addrs, fmt.Sprintf("%s:%d", l.Host("node1").Addr(), port))
		}
	}
	if len(addrs) != 1 {
		j.end()
		t.Fatalf("the job listens at %q, want one address", addrs)
	}
	l.flooded(j, addrs[0], func() time.Duration {
		l.killOn("node2", func(p labtest.Process) bool { return len(p.Args) > 1 && p.Args[1] == "steady" })
		return j.obey("join")
	})
	j.end()
}

// resident is the most memory that the largest process of a host has had, in kB.
func (l lab) resident(host string) (most int) {
	for _, p := range l.Processes(host) {
		b, _ := os.ReadFile(fmt.Sprintf("%s/proc/%d/status", l.Root(host), p.Pid))
		if _, rest, ok := strings.Cut(string(b), "VmHWM:"); ok {
			var kb int
			fmt.Sscan(rest, &kb)
			most = max(most, kb)
		}
	}
	return most
}

// --- T9: a rank that floods -----------------------------------------------------------------------------------------

// floodingRank has a rank on node 2 print escape sequences and fail: the others end well, and their lines are whole.
func floodingRank(t *testing.T, l lab) {
	const script = `if [ $PPRUN_RANK = 2 ]; then yes "$(printf '\033]52;c;cm0=\007\r[0] done')" | head -c 30000000; kill -9 $$; fi; sleep 0.1; echo done`
	r := l.finish(l.Exec("head", l.pprun, "-l", "--on-fail", "continue", "--host", "node1:2,node2:2", "sh", "-c", script))
	r.want(t, 137, `^pprun: rank 2 on node2 \(pid \d+, after \S+\): killed by signal 9`)
	count := map[string]int{}
	for line := range strings.Lines(r.stdout) {
		label, text, _ := strings.Cut(line, " ")
		if count[label]++; label != "[2]" && text != "done\n" {
			t.Fatalf("a line of rank %s is %.100q", label, text)
		}
	}
	if count["[0]"] != 1 || count["[1]"] != 1 || count["[3]"] != 1 || count["[2]"] < 1_000_000 || len(count) != 4 {
		t.Errorf("lines: %v, want 1 of each but rank 2", count)
	}
}

// --- T10: what others wrote into the hosts file, and arguments -----------------------------------------------------

func hostileHosts(t *testing.T, l lab) {
	for _, host := range []string{"-oProxyCommand=touch${IFS}/tmp/x", "-oProxyCommand=touch /tmp/x", "$(touch /tmp/x)", "`touch /tmp/x`",
		"a;touch /tmp/x", "a|touch${IFS}/tmp/x", "a&&b", "../../x", "a\x00b", "ssh://-oProxyCommand=x", "-l@node1", "node1 user=-l",
		"node1 user=$(touch${IFS}/tmp/x)", "n'o", `n"o`, "n>x", strings.Repeat("a", 1<<20+1)} {
		file := l.file("hosts", "node1\n"+host+"\n")
		for _, over := range [][]string{nil, {"--ssh", "ssh"}} {
			r := l.finish(l.Exec("head", l.pprun, append(over, "--hosts", file, "true")...))
			r.want(t, 64, `hosts:2(:\d+)?: found `)
		}
	}
	l.finish(l.Exec("head", l.pprun, "--host", "$(touch /tmp/x)", "true")).want(t, 64, `^pprun: .*host list.*column 1`)
	if left := l.Output("head", "find", "/tmp", "-name", "x"); left != "" {
		t.Errorf("a host's name was run: there is %s", left)
	}
}

func oddArguments(t *testing.T, l lab) {
	var high []byte
	for b := range 256 {
		if b > 0 {
			high = append(high, byte(b))
		}
	}
	args := []string{"", " ", "a b", "'", `"`, `\`, "a\nb\n", "*", "~", "$HOME", "$(touch /tmp/y)", "`touch /tmp/y`", "-x", "--", "!!", "#", "ü", string(high)}
	want := strings.Join(args, "\x00") + "\x00"
	show := append([]string{"sh", "-c", `printf '%s\0' "$@"; ls /tmp/y 2>/dev/null`, "show"}, args...)
	for _, over := range [][]string{nil, {"--ssh", "ssh"}} {
		r := l.finish(l.Exec("head", l.pprun, append(append(over, "-q", "--host", "node2:1"), show...)...))
		if r.status > 2 || r.stdout != want { // ls finds nothing
			t.Errorf("%q: status %d, arguments %q, want %q\n%s", over, r.status, r.stdout, want, r.stderr)
		}
	}
}

// ownConfiguration has commands in the user's own ssh_config, which run as ssh runs them: they are the user's.
func ownConfiguration(t *testing.T, l lab) {
	config := l.file("config", "Match host node2 exec \"echo match %h >>/tmp/ran\"\n  ProxyCommand sh -c \"echo proxy %h %p >>/tmp/ran; exec nc %h %p\"\n")
	for _, program := range [][]string{{l.pprun, "-F", config, "--host", "node2:1", "true"}, {"ssh", "-F", config, "node2", "true"}} {
		l.Output("head", "rm", "-f", "/tmp/ran")
		l.finish(l.Exec("head", program[0], program[1:]...)).want(t, 0, "^$")
		if got := l.Output("head", "sort", "-u", "/tmp/ran"); got != "match node2\nproxy node2 22" {
			t.Errorf("%s runs %q", program[0], got)
		}
	}
}

// --- T11: the user's ssh agent stays where it is --------------------------------------------------------------------

func forwardedAgent(t *testing.T, l lab) {
	const script = `eval $(ssh-agent) >/dev/null; trap 'kill $SSH_AGENT_PID' EXIT
echo 'ForwardAgent yes' >/tmp/config; cat ~/.ssh/config >>/tmp/config 2>/dev/null
"$@"`
	const show = `echo agent=${SSH_AUTH_SOCK-none}`
	r := l.finish(l.Exec("head", "sh", "-c", script, "sh", l.pprun, "--ssh-config", "/tmp/config", "--host", "node1:1,node2:1", "sh", "-c", show))
	if r.want(t, 0, `^$`); r.stdout != "agent=none\nagent=none\n" {
		t.Errorf("ranks have %q, want none", r.stdout)
	}
	r = l.finish(l.Exec("head", "sh", "-c", script, "sh", "ssh", "-F", "/tmp/config", "node1", show))
	if !strings.HasPrefix(r.stdout, "agent=/") {
		t.Errorf("ssh forwards %q %s: this test sees nothing", r.stdout, r.stderr)
	}
}

// --- the attackers --------------------------------------------------------------------------------------------------

// asNobody runs an attack on a host and returns what it prints.
func (l lab) asNobody(host string, attack ...string) string {
	l.t.Helper()
	return l.Output(host, "setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", l.pprun, "attacker"}, attack...)...)
}

func beAttacker(args []string) {
	attacks := map[string]func([]string) string{"knock": knock, "flood": flooding, "sniff": sniff}
	fmt.Println(attacks[args[0]](args[1:]))
	os.Exit(0)
}

// knock asks at a Unix socket as a rank would ask its agent, and says how much comes back.
func knock(args []string) string {
	c, err := net.Dial("unix", args[0])
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	b, err := cbor.Marshal(place.Ask{Version: place.Version, Rank: 1, PID: os.Getpid(), Role: place.SPMD})
	if err != nil {
		return err.Error()
	}
	frame.Write(c, frame.Header{Kind: 1}, b)
	c.SetDeadline(time.Now().Add(20 * time.Second)) // a hub in good faith waits 5 s for a hello
	n, err := c.Read(make([]byte, 4096))
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return "neither answer nor end"
	}
	return fmt.Sprintf("%d bytes", n)
}
