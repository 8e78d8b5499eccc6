package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// eventually is when what tests wait for has come, however busy this machine is.
const eventually = time.Minute

// lab is pprun on the head of real hosts.
type lab struct {
	*labtest.Lab
	t     *testing.T
	pprun string // its path there
	hosts string // four hosts with two slots each
}

func (l lab) in(t *testing.T) lab { return lab{l.For(t), t, l.pprun, l.hosts} }

// file makes an executable file that every host sees, and returns its path there.
func (l lab) file(name, content string) string {
	l.t.Helper()
	path := filepath.Join(l.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		l.t.Fatal(err)
	}
	return l.Install(name, path)
}

// sshConfig makes a configuration for pprun -F. Where hosts have one account only, it says so as the user's own does.
func (l lab) sshConfig(name, content string) string {
	l.t.Helper()
	if l.Mode() == labtest.UserNS {
		content += "Host *\n  User alice\n"
	}
	return l.file(name, content)
}

type result struct {
	stdout, stderr string
	status         int
}

// run runs pprun on the four hosts.
func (l lab) run(args ...string) result {
	l.t.Helper()
	return l.finish(l.Exec("head", l.pprun, append([]string{"--hosts", l.hosts}, args...)...))
}

// runFor runs pprun with a LIMIT of its time, and longer where ranks do not come to run within that.
func (l lab) runFor(args ...string) (r result) {
	l.t.Helper()
	at := slices.Index(args, "LIMIT")
	for limit := 500 * time.Millisecond; limit < 20*time.Second && !strings.Contains(r.stderr, "still running"); limit *= 2 {
		args[at] = limit.String()
		r = l.finish(l.Exec("head", l.pprun, args...))
	}
	return r
}

func (l lab) finish(cmd *exec.Cmd) result {
	l.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		l.t.Fatal(err)
	}
	said := patient.ReplaceAllString(stderr.String(), "")
	if l.Mode() == labtest.Loopback { // all hosts are this machine
		said = oneMachine.ReplaceAllString(said, "")
	}
	return result{stdout.String(), said, cmd.ProcessState.ExitCode()}
}

var oneMachine = regexp.MustCompile(`(?m)^pprun: \S+ are one machine: .*\n`)

// patient is what pprun and Init say where machines take their time, as they do while this one is busy.
var patient = regexp.MustCompile(`(?m)^pprun: (connecting to \S+|waiting for the agent on \S+|rank 0 waits in Init for .*)\n`)

func (r result) want(t *testing.T, status int, stderr string) {
	t.Helper()
	if r.status != status || !regexp.MustCompile(stderr).MatchString(patient.ReplaceAllString(r.stderr, "")) {
		t.Errorf("exit status %d, want %d\nstdout:\n%s\nstderr, wanted to match %q:\n%s", r.status, status, r.stdout, stderr, r.stderr)
	}
}

func TestHosts(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := lab{Lab: labtest.Up(t, labtest.Config{Hosts: 4}), t: t}
	l.pprun, l.hosts = l.Install("pprun", exe), l.HostsFile(2)
	for _, c := range []struct {
		name string
		f    func(*testing.T, lab)
	}{
		{"cold and warm", coldAndWarm},
		{"damaged agent", damagedAgent},
		{"programs", programs},
		{"all or none", allOrNone},
		{"stdin", remoteStdin},
		{"status", remoteStatus},
		{"one block for all failures", groupedFailures},
		{"login shells", loginShells},
		{"noexec", noexec},
		{"several names", severalNames},
		{"jobs at once", jobsAtOnce},
		{"kill", kills},
		{"old bugs", oldBugs},
		{"shared data", shared},
		{"self", selfOnHosts},
		{"losses", losses},
		{"report", remoteReport},
		{"signal storms", signalStorms},
		{"lost before all joined", lostBeforeAllJoined},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, l.in(t)) })
	}
}

func coldAndWarm(t *testing.T, l lab) {
	script := l.file("where", "#!/bin/sh\necho $PPRUN_RANK on $(hostname)\n")
	const launched = `^pprun: 8 ranks on 4 nodes \(node1:2 node2:2 node3:2 node4:2\), `
	r := l.run("-v", script)
	r.want(t, 0, launched+`\d+ B -> \d+ B, 4 copied 0 cached, up in \d`)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if len(lines) != 8 || !strings.Contains(r.stdout, "7 on node4\n") && l.Mode() != labtest.Loopback {
		t.Errorf("stdout:\n%s", r.stdout)
	}
	l.run("-v", script).want(t, 0, launched+`0 copied 4 cached, up in \d`)
}

// An agent of which a byte has changed where it is kept, in what it does not read, is not believed.
func damagedAgent(t *testing.T, l lab) {
	if l.Mode() == labtest.Loopback {
		t.Skip("hosts share their agents")
	}
	r := l.run("sh", "-c", "[ $PPRUN_RANK != 2 ] || tr '\\0' '\\n' </proc/$PPID/cmdline | head -n 1") // the first on node2
	r.want(t, 0, `^$`)
	agent := strings.TrimSpace(r.stdout)
	l.Output("node2", "sh", "-c", `f=$1
		cp $f $f.new && printf X | dd bs=1 conv=notrunc seek=$(($(wc -c <$f) * 3 / 4)) of=$f.new 2>/dev/null && mv $f.new $f`, "sh", agent)
	l.run("true").want(t, 125, `^pprun: node2: its agent \([0-9a-f]{12}\) is another program than this pprun for \w+/\w+, or damaged: remove `+agent+` there\n$`)
	l.Output("node2", "rm", agent)
	l.run("true").want(t, 0, `^$`)
}

// Where one node cannot start its ranks, no node starts any.
func allOrNone(t *testing.T, l lab) {
	if l.Mode() == labtest.Loopback {
		t.Skip("hosts share their files")
	}
	l.Output("node1", "sh", "-c", `mkdir /tmp/only; printf '#!/bin/sh\necho ran\n' >/tmp/only/prog; chmod +x /tmp/only/prog`)
	defer l.Output("node1", "rm", "-r", "/tmp/only")
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--no-stage", "/tmp/only/prog"}, 127, `^pprun: node\[2-4\]: /tmp/only/prog: no such file`},
		{[]string{"--wdir", "/tmp/only", "echo", "ran"}, 125, `^pprun: node\[2-4\]: working directory /tmp/only: no such file or directory`},
	} {
		r := l.run(c.args...)
		if r.want(t, c.status, c.want); r.stdout != "" {
			t.Errorf("%q: some ranks ran: %q", c.args, r.stdout)
		}
	}
}

func programs(t *testing.T, l lab) {
	r := l.run("hostname")
	r.want(t, 0, `^$`)
	if n := strings.Count(r.stdout, "\n"); n != 8 {
		t.Errorf("hostname printed %d lines:\n%s", n, r.stdout)
	}
	if l.Mode() != labtest.Loopback && strings.Count(r.stdout, "node3\n") != 2 {
		t.Errorf("hostname printed:\n%s", r.stdout)
	}

	show := l.file("show", "#!/bin/sh\nfor a; do echo \"<$a>\"; done; cat \"$4\"\n")
	data := l.file("data", "staged\n")
	r = l.run("-n", "1", "--stage", data, show, "a b", `$HOME "'`, "", "data")
	r.want(t, 0, `^$`)
	if want := "<a b>\n<$HOME \"'>\n<>\n<data>\nstaged\n"; r.stdout != want {
		t.Errorf("stdout %q, want %q", r.stdout, want)
	}

	t.Run("C", func(t *testing.T) {
		if _, err := exec.LookPath("gcc"); err != nil {
			t.Skip("no gcc")
		}
		dir := t.TempDir()
		source := `#include <stdio.h>
#include <stdlib.h>
int main(void) { printf("C %s\n", getenv("PPRUN_RANK")); return 0; }`
		if err := os.WriteFile(filepath.Join(dir, "c.c"), []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("gcc", "-o", filepath.Join(dir, "c"), filepath.Join(dir, "c.c")).CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, out)
		}
		r := l.in(t).run(l.in(t).Install("c", filepath.Join(dir, "c")))
		r.want(t, 0, `^$`)
		if strings.Count(r.stdout, "C ") != 8 {
			t.Errorf("stdout:\n%s", r.stdout)
		}

		// What it needs may be where -x says.
		lib := exec.Command("sh", "-c", `echo "int f(void){return 0;}" >l.c && echo "int f(void);int main(void){return f();}" >u.c &&
			gcc -shared -fPIC -o libzz9.so l.c && gcc -o u u.c -L. -lzz9`)
		lib.Dir = dir
		if out, err := lib.CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, out)
		}
		l := l.in(t)
		l.Install("libzz9.so", filepath.Join(dir, "libzz9.so"))
		program := l.Install("u", filepath.Join(dir, "u"))
		l.run(program).want(t, 127, `^pprun: node\[1-4\]: u: no libzz9.so there: install it there, or build with CGO_ENABLED=0 \(or statically\)\n$`)
		l.run("-x", "LD_LIBRARY_PATH="+l.Path(""), program).want(t, 0, `^$`)
		l.finish(l.Exec("head", l.pprun, "-n", "1", program)).want(t, 127, `^pprun: \S+: \S+: no libzz9.so there: .*\n$`)
	})
}

func remoteStatus(t *testing.T, l lab) {
	l.run("sh", "-c", `[ $PPRUN_RANK = 5 ] && exit 9; exec sleep 1000`).want(t, 9,
		`^pprun: rank 5 on node3 \(pid \d+, after \S+\): exit status 9: job aborted, 7 other ranks ended\n$`)
	r := l.run("--on-fail", "continue", "sh", "-c", `[ $PPRUN_RANK = 5 ] && kill -9 $PPID; sleep 1; echo done`)
	r.want(t, 125, `^pprun: lost node3: its agent is gone.*: ranks 4-5 ran there: the others go on\n$`)
	if r.stdout != strings.Repeat("done\n", 6) {
		t.Errorf("stdout %q", r.stdout)
	}
	r = l.runFor("--hosts", l.hosts, "--timeout", "LIMIT", "sleep", "1000")
	r.want(t, 124, `^pprun: timed out after \S+: ranks 0-1 on node1, .* still running\n$`)
	l.run("no-such-program").want(t, 127, `^pprun: node\[1-4\]: no-such-program: not found on PATH.*\n$`)
	l.run("--wdir", "/no/such", "true").want(t, 125, `^pprun: node\[1-4\]: working directory /no/such: no such file or directory.*\n$`)
}

func groupedFailures(t *testing.T, l lab) {
	l.Host("node2").SSHD("stop")
	l.Host("node3").SSHD("stop")
	defer l.Host("node2").SSHD("start")
	defer l.Host("node3").SSHD("start")
	l.run("true").want(t, 125, `^pprun: node\[2-3\]: connect: connection refused: is sshd running there on port \d+\?\n$`)

	if l.Mode() == labtest.Loopback {
		return // names are in the ssh configuration
	}
	// All are tried, also one that accepts and then says nothing, and no rank runs where the others could.
	l.Host("node4").Freeze()
	defer l.Host("node4").Thaw()
	r := l.finish(l.Exec("head", l.pprun, "-F", l.sshConfig("impatient", impatient), "--host", "node[1-4]:1,nosuchhost.invalid:1", "echo", "ran"))
	r.want(t, 125, `^pprun: 4 of 5 nodes failed:
pprun:   node\[2-3\]: connect: connection refused: is sshd running there on port \d+\?
pprun:   node4: banner: timed out after 3s: .*
pprun:   nosuchhost.invalid: resolve: .*
$`)
	if r.stdout != "" {
		t.Errorf("stdout: %s", r.stdout)
	}
}

// Whatever the login shell is and prints, the agent comes up; if it cannot, the message quotes it.
func loginShells(t *testing.T, l lab) {
	if l.Mode() != labtest.Root {
		t.Skip("needs accounts of its own: root mode only")
	}
	for node, shell := range map[string]string{"node1": "tcsh", "node2": "fish", "node3": "zsh"} {
		if _, err := exec.LookPath(shell); err != nil {
			t.Skipf("no %s", shell)
		}
		l.Host(node).Shell("root", shell)
		defer l.Host(node).Shell("root", "bash")
	}
	l.Output("node4", "sh", "-c", `seq 2000 | sed 's/^/noise /; 1s/^/echo "/; $s/$/"/' >/root/.bashrc`)
	r := l.run("hostname")
	r.want(t, 0, "^$")
	if strings.Count(r.stdout, "node") != 8 {
		t.Errorf("stdout:\n%s", r.stdout)
	}
	l.Output("node4", "sh", "-c", `echo 'echo closed for today; exit 0' >/root/.bashrc`)
	l.run("hostname").want(t, 125, `^pprun: node4: the login shell did not run /bin/sh, it printed "closed for today": .*\n$`)
	l.Output("node4", "rm", "/root/.bashrc")
}

// The cache goes where programs may run.
func noexec(t *testing.T, l lab) {
	if l.Mode() == labtest.Loopback {
		t.Skip("needs file systems of its own")
	}
	l.Host("node2").FS("/root", "noexec")
	defer l.Host("node2").FS("/root", "rw")
	l.run("hostname").want(t, 0, "^$")
}

// Jobs of one program on the same hosts do not know of each other, when one is killed either.
func jobsAtOnce(t *testing.T, l lab) {
	hello := l.build("hello")
	const jobs = 8
	var all sync.WaitGroup
	for i := range jobs {
		cmd := l.Exec("head", l.pprun, "--hosts", l.hosts, hello)
		if i == 0 { // and stays for a while
			cmd = l.Exec("head", "timeout", "-s", "KILL", "1", l.pprun, "--hosts", l.hosts, "sh", "-c", hello+"; exec sleep 4321")
		}
		all.Go(func() {
			if out, err := cmd.CombinedOutput(); i > 0 && (err != nil || strings.Count(string(out), " of 8 on ") != 8) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	if l.Mode() != labtest.Loopback {
		for n := 1; n <= 4; n++ {
			l.WaitGone(fmt.Sprintf("node%d", n), func(p labtest.Process) bool {
				return len(p.Args) > 1 && (p.Args[1] == "4321" || p.Args[1] == "agent" || p.Args[1] == "guard")
			}, 10*time.Second)
		}
	}
}

// Several names of one host are one node; one name of two hosts is two.
func severalNames(t *testing.T, l lab) {
	if l.Mode() == labtest.Loopback {
		t.Skip("needs a port of its own for each host")
	}
	config := l.sshConfig("aliases", "Host other\n  HostName node1\nHost localhost\n  UserKnownHostsFile /tmp/localhosts\n")
	address := strings.Fields(l.Output("head", "getent", "hosts", "node1"))[0]
	hosts := l.file("names", "node1 slots=1\nssh://node1:22 slots=2\n"+address+" slots=1\nnode2 slots=1\nother slots=1\n")
	const where = "echo $PPRUN_RANK $PPRUN_LOCAL_SIZE $(hostname)"
	r := l.finish(l.Exec("head", l.pprun, "-F", config, "--hosts", hosts, "sh", "-c", where))
	r.want(t, 0, `^pprun: `+regexp.QuoteMeta(address)+`,node1,other are one machine: they are one node, node1, with 5 slots\n$`)
	if strings.Count(r.stdout, " 5 node1\n") != 5 || !strings.Contains(r.stdout, "5 1 node2\n") {
		t.Errorf("stdout:\n%s", r.stdout)
	}

	l.Output("head", "sh", "-c", "ssh -fN -o ExitOnForwardFailure=yes -L 2201:node1:22 -L 2202:node2:22 node1 >/dev/null 2>&1")
	hosts = l.file("localhosts", "ssh://localhost:2201 slots=1\nssh://localhost:2202 slots=1\n")
	r = l.finish(l.Exec("head", l.pprun, "-q", "-F", config, "--accept-new", "--hosts", hosts, "sh", "-c", where))
	r.want(t, 0, `^$`)
	if !strings.Contains(r.stdout, "0 1 node1\n") || !strings.Contains(r.stdout, "1 1 node2\n") {
		t.Errorf("stdout:\n%s", r.stdout)
	}
	l.killOn("head", func(p labtest.Process) bool { return p.Command() == "ssh" && slices.Contains(p.Args, "-fN") })
}

// Whoever is killed, no process of the job is left anywhere, and one line says what happened.
func kills(t *testing.T, l lab) {
	if l.Mode() == labtest.Loopback {
		t.Skip("hosts share their processes")
	}
	for i, c := range []struct {
		name   string
		victim func(lab, *exec.Cmd)
		status int
		stderr string
	}{
		{"launcher", func(l lab, cmd *exec.Cmd) { cmd.Process.Kill() }, -1, ``},
		{"agent", func(l lab, _ *exec.Cmd) {
			l.killOn("node3", func(p labtest.Process) bool { return len(p.Args) > 1 && p.Args[1] == "agent" })
		},
			125, `^pprun: lost node3: .*: ranks 4-5 ran there: job aborted\n$`},
		{"rank", func(l lab, _ *exec.Cmd) {
			l.killOn("node1", func(p labtest.Process) bool { return p.Command() == "sleep" })
		},
			137, `^pprun: rank [01] on node1 \(pid \d+, after \S+\): killed by signal 9 \(SIGKILL\): job aborted, 7 other ranks ended\n$`},
		{"sshd session", func(l lab, _ *exec.Cmd) {
			l.killOn("node4", func(p labtest.Process) bool {
				return strings.HasPrefix(p.Args[0], "sshd") && strings.Contains(p.Args[0], "@")
			})
		}, 125, `^pprun: lost node4: .*: ranks 6-7 ran there: job aborted\n$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l.in(t)
			mark := strconv.Itoa(5000 + i)
			cmd := l.Exec("head", l.pprun, "--hosts", l.hosts, "sleep", mark)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			mine := func(p labtest.Process) bool { return p.Command() == "sleep" && len(p.Args) == 2 && p.Args[1] == mark }
			for n := 1; n <= 4; n++ {
				l.awaitOn(fmt.Sprintf("node%d", n), 2, mine)
			}
			c.victim(l, cmd)
			awaitEnd(t, cmd, &stderr)
			result{stderr: stderr.String(), status: cmd.ProcessState.ExitCode()}.want(t, c.status, c.stderr)
			for n := 1; n <= 4; n++ {
				host := fmt.Sprintf("node%d", n)
				l.WaitGone(host, mine, 10*time.Second)
				l.WaitGone(host, func(p labtest.Process) bool { return len(p.Args) > 1 && (p.Args[1] == "agent" || p.Args[1] == "guard") }, 10*time.Second)
			}
		})
	}
}

// awaitOn waits for that many processes on a host.
func (l lab) awaitOn(host string, count int, is func(labtest.Process) bool) {
	l.t.Helper()
	for end := time.Now().Add(eventually); ; time.Sleep(10 * time.Millisecond) {
		n := 0
		for _, p := range l.Processes(host) {
			if is(p) {
				n++
			}
		}
		if n == count {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("%s: %d processes, want %d", host, n, count)
		}
	}
}

// killOn kills one process of a host.
func (l lab) killOn(host string, is func(labtest.Process) bool) {
	l.t.Helper()
	for _, p := range l.Processes(host) {
		if is(p) {
			l.Output(host, "kill", "-9", strconv.Itoa(p.Pid))
			return
		}
	}
	l.t.Fatalf("%s: no such process among %v", host, l.Processes(host))
}
