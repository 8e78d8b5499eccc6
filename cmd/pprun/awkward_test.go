package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// An awkward is a host as pprun should not meet it, and what becomes of that: the ranks run, or one line says why not.
// NODE stands for the host's name throughout.
type awkward struct {
	name    string
	prepare func(h labtest.Host, sh func(script string)) // the host is fresh; sh runs there as root
	config  string                                       // ssh_config
	host    string                                       // "": NODE
	args    []string
	status  int
	stderr  string
	down    bool // the case leaves no process there to kill
	slow    bool // it takes until a deadline: such cases begin first
}

// deadline is within which pprun has to have answered, whatever the host does.
const deadline = 30 * time.Second

func shell(name string) func(labtest.Host, func(string)) {
	return func(h labtest.Host, _ func(string)) { h.Shell("root", name) }
}

func script(s string) func(labtest.Host, func(string)) {
	return func(_ labtest.Host, sh func(string)) { sh(s) }
}

func startFile(name, file, text string) func(labtest.Host, func(string)) {
	return func(h labtest.Host, sh func(string)) {
		h.Shell("root", name)
		sh("mkdir -p $(dirname /root/" + file + ") && cat >/root/" + file + " <<'X'\n" + text + "\nX")
	}
}

func sshd(lines ...string) func(labtest.Host, func(string)) {
	return func(h labtest.Host, _ func(string)) { h.SSHD("conf", lines...) }
}

const (
	noShell   = `the login shell did not run /bin/sh`
	advice    = `: its start-up files, and ForceCommand of sshd, have to let commands pass`
	impatient = "Host *\n  ConnectTimeout 3\n"
)

var awkwards = []awkward{
	{name: "login shell bash", prepare: shell("bash")},
	{name: "login shell dash", prepare: shell("dash")},
	{name: "login shell zsh", prepare: shell("zsh")},
	{name: "login shell csh", prepare: shell("csh")},
	{name: "login shell tcsh", prepare: shell("tcsh")},
	{name: "login shell fish", prepare: shell("fish")},
	{name: "login shell rbash", prepare: shell("rbash"), status: 125, stderr: noShell + `.*restricted`},
	{name: "login shell nologin", prepare: shell("/usr/sbin/nologin"), status: 125, stderr: noShell + `, it printed "This account is currently not available."`},
	{name: "login shell false", prepare: shell("/bin/false"), status: 125, stderr: noShell},

	{name: "bash prints", prepare: startFile("bash", ".bashrc", `echo welcome to NODE; echo beware >&2`)},
	{name: "bash prints 60 kB", prepare: startFile("bash", ".bashrc", `seq 11000`)},
	{name: "bash prints 1 MB", prepare: startFile("bash", ".bashrc", `seq 160000`), status: 125, stderr: noShell + `, it printed "1 2 3 .*"` + advice},
	{name: "bash exits 0", prepare: startFile("bash", ".bashrc", `exit 0`), status: 125, stderr: noShell + advice},
	{name: "bash prints, exits 0", prepare: startFile("bash", ".bashrc", "echo closed for today\nexit 0"), status: 125, stderr: noShell + `, it printed "closed for today"` + advice},
	{name: "bash reads a line", prepare: startFile("bash", ".bashrc", `read answer`)},
	{name: "bash reads all", prepare: startFile("bash", ".bashrc", `cat >/dev/null`), status: 125, stderr: `no answer from /bin/sh for 15s`, slow: true},
	{name: "bash hangs", prepare: startFile("bash", ".bashrc", "echo wait a moment\nsleep 1000"), status: 125, stderr: `no answer from /bin/sh for 15s.*wait a moment`, slow: true},
	{name: "zsh prints", prepare: startFile("zsh", ".zshenv", `echo welcome`)},
	{name: "tcsh prints", prepare: startFile("tcsh", ".cshrc", `echo welcome`)},
	{name: "tcsh exits 0", prepare: startFile("tcsh", ".cshrc", `exit 0`)}, // it goes on
	{name: "fish prints", prepare: startFile("fish", ".config/fish/config.fish", `echo welcome`)},

	{name: "ForceCommand echo", prepare: sshd("ForceCommand echo forced"), status: 125, stderr: noShell + `, it printed "forced"`},
	{name: "ForceCommand internal-sftp", prepare: sshd("ForceCommand internal-sftp"), status: 125, stderr: noShell},
	{name: "Banner", prepare: func(h labtest.Host, sh func(string)) {
		sh("seq 1000 >/etc/issue.net")
		h.SSHD("conf", "Banner /etc/issue.net")
	}},
	{name: "no sftp, scp, zstd, sha256sum, gzip", prepare: func(h labtest.Host, sh func(string)) {
		sh("cd /usr/bin && rm -f scp sftp zstd sha256sum gzip gunzip tar mktemp setsid nohup")
		h.SSHD("conf", "Subsystem none /bin/false")
	}},
	{name: "AllowTcpForwarding no", prepare: sshd("AllowTcpForwarding no")},
	{name: "DisableForwarding yes", prepare: sshd("DisableForwarding yes")},
	{name: "PermitTTY no", prepare: sshd("PermitTTY no")},
	{name: "MaxSessions 1", prepare: sshd("MaxSessions 1")},
	{name: "MaxSessions 0", prepare: sshd("MaxSessions 0"), status: 125, stderr: `start: session refused: .*: what is MaxSessions of sshd there\?`},
	{name: "30 names, MaxStartups 10:30:100", prepare: sshd("MaxStartups 10:30:100"), host: "m[1-30]",
		config: "Host m*\n  HostName NODE\n  HostKeyAlias NODE\n", stderr: `m\[1-30\] are one machine: `},

	{name: "noexec /tmp", prepare: func(h labtest.Host, _ func(string)) { h.FS("/tmp", "noexec") }},
	{name: "noexec everywhere", prepare: func(h labtest.Host, _ func(string)) {
		for _, dir := range []string{"/root", "/tmp", "/var/tmp", "/dev/shm", "/run"} {
			h.FS(dir, "noexec")
		}
	}, status: 125, stderr: `no directory to keep the agent in \(/root/.cache/pprun: .*noexec.*/var/tmp/pprun-0: .*/tmp/pprun-0: .*/dev/shm/pprun-0: .*\): set PPRUN_CACHE there`},
	{name: "read-only home", prepare: func(h labtest.Host, _ func(string)) { h.FS("/root", "ro") }},
	{name: "full home", prepare: func(h labtest.Host, _ func(string)) { h.FS("/root", "size=1m") }},
	{name: "home without inodes", prepare: func(h labtest.Host, _ func(string)) { h.FS("/root", "nr_inodes=16") }},
	{name: "full everywhere", prepare: func(h labtest.Host, _ func(string)) {
		for _, dir := range []string{"/root", "/tmp", "/var/tmp", "/dev/shm", "/run"} {
			h.FS(dir, "size=1m")
		}
	}, status: 125, stderr: `no directory to keep the agent in \(/root/.cache/pprun: is full, .*/dev/shm/pprun-0: is full\): set PPRUN_CACHE there`},
	{name: "missing home", prepare: func(h labtest.Host, sh func(string)) {
		sh("mkdir /etc/ssh/keys && cat /home/alice/.ssh/authorized_keys /root/.ssh/authorized_keys >/etc/ssh/keys/alice && rm -r /home/alice")
		h.SSHD("conf", "AuthorizedKeysFile /etc/ssh/keys/%u")
	}, host: "alice@NODE"},
	{name: "home of somebody else", prepare: func(h labtest.Host, sh func(string)) {
		sh("mkdir /etc/ssh/keys && cat /root/.ssh/authorized_keys >/etc/ssh/keys/alice && chown -R root /home/alice && chmod 755 /home/alice")
		h.SSHD("conf", "AuthorizedKeysFile /etc/ssh/keys/%u")
	}, host: "alice@NODE"},

	{name: "locked user", prepare: script(`cp /root/.ssh/authorized_keys /home/alice/.ssh/; sed -i 's/^alice:\*:/alice:!:/' /etc/shadow`), host: "alice@NODE", status: 125, stderr: `authenticate: permission denied for user alice: refused key /root/`},
	{name: "unknown user", prepare: script("true"), host: "nobody-here@NODE", status: 125, stderr: `authenticate: permission denied for user nobody-here: refused key /root/`},
	{name: "encrypted key, no terminal", prepare: script("true"), config: "Host *\n  IdentityFile SHARED/encrypted\n  IdentitiesOnly yes\n",
		status: 125, stderr: `authenticate: key .*/encrypted: it is encrypted: there is no terminal to ask for its passphrase on: load it into an agent first: ssh-add `},
	{name: "changed host key", prepare: func(h labtest.Host, sh func(string)) {
		sh("rm /etc/ssh/ssh_host_ed25519_key && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
		h.SSHD("restart")
	}, status: 125, stderr: `host key: it has changed: `},
	{name: "unknown host key", prepare: script("true"), config: "Host *\n  GlobalKnownHostsFile /dev/null\n",
		status: 125, stderr: `host key: .*unknown|not known`},

	{name: "sshd stopped", prepare: func(h labtest.Host, _ func(string)) { h.SSHD("stop") }, status: 125, stderr: `connect: .*connection refused: is sshd running there on port 22\?`},
	{name: "frozen host", prepare: func(h labtest.Host, _ func(string)) { h.Freeze() }, config: impatient, status: 125, stderr: `banner: timed out after 3s: `, slow: true},
	{name: "dropped packets", prepare: func(h labtest.Host, _ func(string)) { h.DropIP(labtest.Both) }, config: impatient, status: 125, stderr: `connect: .*timed out after 3s: is sshd running there\?`, slow: true},
	{name: "dropped packets, default timeout", prepare: func(h labtest.Host, _ func(string)) { h.DropIP(labtest.In) }, status: 125, stderr: `connect: .*timed out after 10s: is sshd running there\?`, slow: true},
	{name: "cut cable", prepare: func(h labtest.Host, _ func(string)) { h.Cut() }, config: impatient, status: 125, stderr: `connect: .*(timed out after 3s: is sshd running there|no route to host: is the host up)`, slow: true},
	{name: "power failure", prepare: func(h labtest.Host, _ func(string)) { h.Crash() }, config: impatient, status: 125, stderr: `connect: .*(timed out after 3s: is sshd running there|no route to host: is the host up)`, slow: true, down: true},
	{name: "5 % of packets lost", prepare: func(h labtest.Host, _ func(string)) { h.Loss(5) }},
	{name: "--start-timeout", prepare: startFile("bash", ".bashrc", "sleep 1000"), args: []string{"--start-timeout", "2s"}, status: 125, stderr: `no progress for 2s: .*NODE`},
	{name: "no such name", prepare: script("true"), host: "nosuchhost.invalid", status: 125, stderr: `nosuchhost.invalid: resolve: `},

	{name: "--ssh with OpenSSH", prepare: script("true"), args: []string{"--ssh", "ssh -o BatchMode=yes"}},
	{name: "--ssh, user", prepare: script("cp /root/.ssh/authorized_keys /home/alice/.ssh/"), host: "alice@NODE", args: []string{"--ssh", "ssh -o BatchMode=yes"}},
	{name: "--ssh, exit 0 in .bashrc", prepare: startFile("bash", ".bashrc", "echo closed\nexit 0"), args: []string{"--ssh", "ssh"}, status: 125, stderr: `ssh: ended before the agent ran \(exit status 0\), it printed "closed"`},
	{name: "--ssh, .bashrc hangs", prepare: startFile("bash", ".bashrc", "sleep 1000"), args: []string{"--ssh", "ssh"}, status: 125, stderr: `ssh: no answer from /bin/sh for 15s`, slow: true},
	{name: "--ssh, sshd stopped", prepare: func(h labtest.Host, _ func(string)) { h.SSHD("stop") }, args: []string{"--ssh", "ssh"}, status: 125,
		stderr: `ssh: ended before the agent ran \(exit status 255\): ssh: connect to host NODE port 22: Connection refused`},
	{name: "--ssh, no such user", prepare: script("true"), host: "nobody-here@NODE", args: []string{"--ssh", "ssh"}, status: 125,
		stderr: `ssh: ended before the agent ran \(exit status 255\): .*Permission denied`},
	{name: "--ssh, no such command", prepare: script("true"), args: []string{"--ssh", "no-such-ssh -x"}, status: 125, stderr: `--ssh no-such-ssh: executable file not found in \$PATH`},
}

// TestAwkward runs a program on one awkward host after the other, on several nodes at a time.
func TestAwkward(t *testing.T) {
	const nodes = 6
	up := labtest.Up(t, labtest.Config{Hosts: nodes})
	if up.Mode() != labtest.Root {
		t.Skip("needs accounts and file systems of its own: root mode only")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := lab{up, t, up.Install("pprun", exe), ""}
	l.Output("head", "sh", "-c", "cp /root/.ssh/id_ed25519 /shared/encrypted && chmod 600 /shared/encrypted && ssh-keygen -q -p -a 1 -N secret -f /shared/encrypted")
	program := l.file("where", "#!/bin/sh\necho rank $PPRUN_RANK on $(hostname)\n")

	var rows table
	defer rows.write(t)
	cases := make(chan awkward, len(awkwards))
	for _, slow := range []bool{true, false} {
		for _, c := range awkwards {
			if c.slow == slow {
				cases <- c
			}
		}
	}
	close(cases)
	var all sync.WaitGroup
	for i := range nodes { // not by t.Parallel, which counts CPUs: most of them wait for deadlines
		all.Go(func() {
			for c := range cases {
				t.Run(c.name, func(t *testing.T) { c.run(l.in(t), fmt.Sprintf("node%d", i+1), program, &rows) })
			}
		})
	}
	all.Wait()
	for _, c := range []struct {
		name string
		f    func(*testing.T, lab, string, *table)
	}{{"own name is 127.0.1.1, one docker0 address", ownName}, {"--ssh, four nodes", sshCommand}} {
		t.Run(c.name, func(t *testing.T) { c.f(t, l.in(t), c.name, &rows) })
	}
}

// The nodes find the hub though its host's own name is 127.0.1.1, and all hosts have one more address in common.
func ownName(t *testing.T, l lab, name string, table *table) {
	hello := l.build("hello")
	for _, node := range []string{"node1", "node2"} {
		l.Output(node, "sh", "-c", `sed "/ $(hostname)$/d" /etc/hosts >/etc/hosts.new && cat /etc/hosts.new >/etc/hosts && echo "127.0.1.1 $(hostname)" >>/etc/hosts
			ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0 && ip link set docker0 up`)
	}
	for _, hosts := range []string{"node1:1,node2:1", "head:1,node1:1,node2:1"} {
		began := time.Now()
		r := l.finish(l.Exec("head", l.pprun, "--host", hosts, hello))
		table.add(name+": "+hosts, r, time.Since(began))
		r.want(t, 0, "^$")
		if n := strings.Count(hosts, ":"); strings.Count(r.stdout, fmt.Sprintf("of %d on", n)) != n {
			t.Errorf("stdout:\n%s", r.stdout)
		}
	}
}

// OpenSSH brings the agents to all nodes, and the ranks find the hub; Ctrl-C is for pprun alone.
func sshCommand(t *testing.T, l lab, name string, table *table) {
	hello := l.build("hello")
	for _, hosts := range []string{"node[3-6]:2", "head:1,node[3-5]:1"} {
		began := time.Now()
		r := l.finish(l.Exec("head", l.pprun, "--ssh", "ssh -o BatchMode=yes", "--host", hosts, hello))
		table.add(name+": "+hosts, r, time.Since(began))
		r.want(t, 0, "^$")
		if n := strings.Count(r.stdout, "hello from rank"); n != 8 && n != 4 {
			t.Errorf("stdout:\n%s", r.stdout)
		}
	}
	l.finish(l.Exec("head", l.pprun, "--ssh", "ssh", "--host", "node3:1,node4:1", "sh", "-c", "[ $PPRUN_RANK = 1 ] && exit 9; exec sleep 1000")).want(t, 9,
		`^pprun: rank 1 on node4 \(pid \d+\): exit status 9: job aborted, 1 other rank ended\n$`)
}

// run prepares the node, runs the program there and makes the node fresh again.
func (c awkward) run(l lab, node, program string, table *table) {
	on := strings.NewReplacer("NODE", node, "SHARED", l.Path("")).Replace
	h := l.Host(node)
	defer h.Boot()
	if !c.down {
		defer h.Kill()
	}
	c.prepare(h, func(script string) { l.Output(node, "sh", "-c", on(script)) })
	host := c.host
	if host == "" {
		host = "NODE"
	}
	args := append([]string{l.pprun, "--host", on(host), "--ppn", "1"}, c.args...)
	if c.config != "" {
		args = append(args, "-F", l.file(node+".conf", on(c.config)))
	}
	cmd := l.Exec("head", "env", append([]string{"-C", "/", "timeout", "-s", "KILL", deadline.String()}, append(args, program)...)...)
	began := time.Now()
	r := l.finish(cmd)
	table.add(c.name, r, time.Since(began))
	if lines := strings.Count(r.stderr, "\n"); lines > 1 || c.status != 0 && lines == 0 {
		l.t.Errorf("%d lines on stderr:\n%s", lines, r.stderr)
	}
	if c.status == 0 && !strings.HasSuffix(r.stdout, "on "+node+"\n") {
		l.t.Errorf("stdout: %s", r.stdout)
	}
	pattern := on(c.stderr)
	if pattern == "" {
		pattern = "^$"
	}
	r.want(l.t, c.status, pattern)
}

// A table collects what came of each case; -v prints it, and PPRUN_TABLE names a file for it.
type table struct {
	mu   sync.Mutex // guards rows
	rows []string
}

func (t *table) add(name string, r result, took time.Duration) {
	said := strings.TrimSpace(r.stderr)
	if said == "" {
		said = strings.TrimSpace(r.stdout)
	}
	if first, rest, more := strings.Cut(said, "\n"); more {
		said = fmt.Sprintf("%s (and %d lines)", first, strings.Count(rest, "\n")+1)
	}
	said = strings.ReplaceAll(said, "|", `\|`)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, fmt.Sprintf("| %s | %d | `%s` | %.1f |\n", name, r.status, said, took.Seconds()))
}

func (t *table) write(tb testing.TB) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.Sort(t.rows)
	var b bytes.Buffer
	b.WriteString("| case | status | pprun printed | s |\n|---|---|---|---|\n")
	b.WriteString(strings.Join(t.rows, ""))
	tb.Logf("%s:\n%s", tb.Name(), b.Bytes())
	if path := os.Getenv("PPRUN_TABLE"); path != "" {
		if err := os.WriteFile(path+"-"+tb.Name()+".md", b.Bytes(), 0o644); err != nil {
			tb.Error(err)
		}
	}
}

// build makes an executable of an example that every host sees.
func (l lab) build(example string) string {
	l.t.Helper()
	return l.compile(example, "../../examples/"+example)
}
