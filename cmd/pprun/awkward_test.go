package main

import (
	"bytes"
	"cmp"
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
	stdout  string // "": ends in "on NODE"
	agent   string // the directory it is kept in there; "": any
	large   bool   // the program has 30 MB
	down    bool   // the case leaves no process there to kill
	slow    bool   // it takes until a deadline: such cases begin first
}

// deadline is within which pprun has to have answered, whatever the host does. On a busy machine it takes half of that to
// compress itself, if it looks for races.
const deadline = time.Minute

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

// runsOnlyElsewhere makes directories in which nothing can be executed, after a line of sshd's configuration.
func runsOnlyElsewhere(line string, dirs ...string) func(labtest.Host, func(string)) {
	return func(h labtest.Host, _ func(string)) {
		h.SSHD("conf", line)
		for _, dir := range dirs {
			h.FS(dir, "noexec")
		}
	}
}

// everywhere changes all file systems that pprun may write to.
func everywhere(how string) func(labtest.Host, func(string)) {
	return func(h labtest.Host, _ func(string)) {
		for _, dir := range []string{"/root", "/tmp", "/var/tmp", "/dev/shm", "/run"} {
			h.FS(dir, how)
		}
	}
}

// limited restarts sshd under a limit, which its sessions inherit.
func limited(limit string) func(labtest.Host, func(string)) {
	return func(h labtest.Host, sh func(string)) {
		h.SSHD("stop")
		sh("ulimit " + limit + "; exec /usr/sbin/sshd -E /var/log/sshd.log")
	}
}

const (
	noShell   = `the login shell did not run /bin/sh`
	advice    = `: its start-up files, and ForceCommand of sshd, have to let commands pass`
	impatient = "Host *\n  ConnectTimeout 3\n"
)

// refused is what is said to a user who is not let in.
func refused(user string) string {
	return `authenticate: permission denied for user ` + user + `: refused key /root/.ssh/id_ed25519: is the public key in ~/.ssh/authorized_keys of ` + user + ` there, and may ` + user + ` log in\?`
}

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

	{name: "login shell does not exist", prepare: script("sed -i '/^root:/s|[^:]*$|/bin/nosuch|' /etc/passwd"), status: 125, stderr: refused("root")},

	{name: "bash prints", prepare: startFile("bash", ".bashrc", `echo welcome to NODE; echo beware >&2`)},
	{name: "bash prints 60 kB", prepare: startFile("bash", ".bashrc", `seq 11000`)},
	{name: "bash prints 1 MB", prepare: startFile("bash", ".bashrc", `seq 160000`), status: 125, stderr: noShell + `, it printed "1 2 3 .*"` + advice},
	{name: "bash exits 0", prepare: startFile("bash", ".bashrc", `exit 0`), status: 125, stderr: noShell + advice},
	{name: "bash prints, exits 0", prepare: startFile("bash", ".bashrc", "echo closed for today\nexit 0"), status: 125, stderr: noShell + `, it printed "closed for today"` + advice},
	{name: "bash reads a line", prepare: startFile("bash", ".bashrc", `read answer`)},
	{name: "bash reads all", prepare: startFile("bash", ".bashrc", `cat >/dev/null`), status: 125, stderr: `no answer from /bin/sh for 15s`, slow: true},
	{name: "bash hangs", prepare: startFile("bash", ".bashrc", "echo wait a moment\nsleep 1000"), status: 125, stderr: `no answer from /bin/sh for 15s.*wait a moment`, slow: true},
	{name: "zsh prints", prepare: startFile("zsh", ".zshenv", `echo welcome`)},
	{name: "zsh reads a line", prepare: startFile("zsh", ".zshenv", `read answer`)},
	{name: "zsh exits 0", prepare: startFile("zsh", ".zshenv", "echo closed\nexit 0"), status: 125, stderr: noShell + `, it printed "closed"` + advice},
	{name: "tcsh reads a line", prepare: startFile("tcsh", ".cshrc", `set answer = "$<"`)},
	{name: "csh prints", prepare: startFile("csh", ".cshrc", `echo welcome`)},
	{name: "tcsh prints", prepare: startFile("tcsh", ".cshrc", `echo welcome`)},
	{name: "tcsh exits 0", prepare: startFile("tcsh", ".cshrc", `exit 0`)}, // it goes on
	{name: "fish prints", prepare: startFile("fish", ".config/fish/config.fish", `echo welcome`)},

	{name: "fish reads a line", prepare: startFile("fish", ".config/fish/config.fish", `read answer`)},
	{name: "fish exits 0", prepare: startFile("fish", ".config/fish/config.fish", "exit 0")}, // it goes on, too

	{name: "ForceCommand that obeys", prepare: sshd(`ForceCommand eval "$SSH_ORIGINAL_COMMAND"`)},
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
	{name: "20 names, MaxStartups 10:30:100", prepare: sshd("MaxStartups 10:30:100"), host: "m[1-20]",
		config: "Host m*\n  HostName NODE\n  HostKeyAlias NODE\n", stderr: `m\[1-20\] are one machine: `},

	{name: "cache in PPRUN_CACHE", prepare: runsOnlyElsewhere("SetEnv PPRUN_CACHE=/opt/cache XDG_CACHE_HOME=/opt/xdg"), agent: "/opt/cache"},
	{name: "cache in XDG_CACHE_HOME", prepare: runsOnlyElsewhere("SetEnv XDG_CACHE_HOME=/opt/xdg"), agent: "/opt/xdg/pprun"},
	{name: "cache in ~/.cache", prepare: runsOnlyElsewhere("SetEnv XDG_RUNTIME_DIR=/run/me"), agent: "/root/.cache/pprun"},
	{name: "cache in XDG_RUNTIME_DIR", prepare: runsOnlyElsewhere("SetEnv XDG_RUNTIME_DIR=/run/me", "/root"), agent: "/run/me/pprun"},
	{name: "cache in /var/tmp", prepare: runsOnlyElsewhere("SetEnv PPRUN_CACHE=/proc/none XDG_RUNTIME_DIR=/root/run", "/root"), agent: "/var/tmp/pprun-0"},
	{name: "cache in /tmp", prepare: runsOnlyElsewhere("", "/root", "/var/tmp"), agent: "/tmp/pprun-0"},
	{name: "cache in /dev/shm", prepare: runsOnlyElsewhere("", "/root", "/var/tmp", "/tmp"), agent: "/dev/shm/pprun-0"},
	{name: "noexec /tmp", prepare: func(h labtest.Host, _ func(string)) { h.FS("/tmp", "noexec") }},
	{name: "noexec everywhere", prepare: everywhere("noexec"), status: 125, stderr: `no directory to keep the agent in \(/root/.cache/pprun: .*noexec.*/var/tmp/pprun-0: .*/tmp/pprun-0: .*/dev/shm/pprun-0: .*\): set PPRUN_CACHE there`},
	{name: "read-only home", prepare: func(h labtest.Host, _ func(string)) { h.FS("/root", "ro") }},
	{name: "full home", prepare: func(h labtest.Host, _ func(string)) { h.FS("/root", "size=1m") }},
	{name: "home without inodes", prepare: func(h labtest.Host, _ func(string)) { h.FS("/root", "nr_inodes=16") }},
	{name: "full everywhere", prepare: everywhere("size=1m"), status: 125, stderr: `no directory to keep the agent in \(/root/.cache/pprun: is full or over quota: \d+ MB needed, \d+ MB free, .*/dev/shm/pprun-0: is full or over quota: \d+ MB needed, \d+ MB free\): set PPRUN_CACHE there`},
	{name: "files of 50 kB at most", prepare: limited("-f 100"), status: 125, stderr: `no directory to keep the agent in \(/root/.cache/pprun: is full or over quota: \d+ MB needed, \d+ MB free, .*/dev/shm/pprun-0: is full or over quota: \d+ MB needed, \d+ MB free\): set PPRUN_CACHE there`},
	{name: "30 MB fit nowhere", large: true, prepare: everywhere("size=24m"), status: 125,
		stderr: `no place to keep the program: /root/.cache/pprun: \d+\.\d MB free, 30.0 MB needed; .*/dev/shm/pprun-0: \d+\.\d MB free, 30.0 MB needed: set PPRUN_CACHE there`},
	{name: "30 MB fit in the last place", large: true, prepare: func(h labtest.Host, _ func(string)) {
		for _, dir := range []string{"/root", "/tmp", "/var/tmp"} {
			h.FS(dir, "size=24m")
		}
	}},
	{name: "30 MB, files of 20 MB at most", large: true, prepare: limited("-f 40000"), status: 125,
		stderr: `no place to keep the program: /root/.cache/pprun: file too large, 30.0 MB needed; .*: set PPRUN_CACHE there`},
	{name: "read-only /tmp", prepare: func(h labtest.Host, _ func(string)) { h.FS("/tmp", "ro") }},
	{name: "read-only everywhere", prepare: everywhere("ro"), status: 125,
		stderr: `no directory to keep the agent in \(/root/.cache/pprun: cannot be made, .*\): set PPRUN_CACHE there`},
	{name: "512 kB of stack, 200 kB of environment", prepare: limited("-s 512"), args: []string{"-x", "A=" + strings.Repeat("a", 100_000), "-x", "B=" + strings.Repeat("b", 100_000)},
		status: 64, stderr: `arguments and environment have 20\d{4} bytes: want at most 131072, a quarter of the stack's limit \(ulimit -s\): pass them in a file`},
	{name: "64 open files", prepare: limited("-n 64"), status: 125, stderr: `their agent needs \d+ open files, its hard limit is 64: raise it`},
	{name: "128 open files", prepare: limited("-n 128")},
	{name: "400 MB of address space", prepare: limited("-v 400000"), status: 125, stderr: `its agent is gone: fatal error: `},
	{name: "missing home", prepare: func(h labtest.Host, sh func(string)) {
		sh("mkdir /etc/ssh/keys && cat /home/alice/.ssh/authorized_keys /root/.ssh/authorized_keys >/etc/ssh/keys/alice && rm -r /home/alice")
		h.SSHD("conf", "AuthorizedKeysFile /etc/ssh/keys/%u")
	}, host: "alice@NODE"},
	{name: "home of somebody else", prepare: func(h labtest.Host, sh func(string)) {
		sh("mkdir /etc/ssh/keys && cat /root/.ssh/authorized_keys >/etc/ssh/keys/alice && chown -R root /home/alice && chmod 755 /home/alice")
		h.SSHD("conf", "AuthorizedKeysFile /etc/ssh/keys/%u")
	}, host: "alice@NODE"},

	{name: "home that others may write to", prepare: script("chmod 777 /home/alice && cp /root/.ssh/authorized_keys /home/alice/.ssh/"), host: "alice@NODE", status: 125, stderr: refused("alice")},
	{name: "user without a key", prepare: script("true"), host: "alice@NODE", status: 125, stderr: refused("alice")},
	{name: "AllowUsers", prepare: sshd("AllowUsers bob"), status: 125, stderr: refused("root")},
	{name: "password, too", prepare: sshd("AuthenticationMethods publickey,password", "PasswordAuthentication yes"), status: 125,
		stderr: `authenticate: permission denied for user root: the host wants password: only keys can be used here; see AuthenticationMethods of sshd there`},
	{name: "expired user", prepare: script("cp /root/.ssh/authorized_keys /home/alice/.ssh/; chage -E 0 alice"), host: "alice@NODE", status: 125, stderr: refused("alice")},
	{name: "UsePAM yes", prepare: func(h labtest.Host, sh func(string)) {
		sh("cp /root/.ssh/authorized_keys /home/alice/.ssh/")
		h.SSHD("conf", "UsePAM yes")
	}, host: "alice@NODE"},
	{name: "UsePAM yes, /etc/nologin", prepare: func(h labtest.Host, sh func(string)) {
		sh("cp /root/.ssh/authorized_keys /home/alice/.ssh/; echo down for maintenance >/etc/nologin")
		h.SSHD("conf", "UsePAM yes")
	}, host: "alice@NODE", status: 125, stderr: `authenticate: the host closes the connection: `},
	{name: "/etc/nologin", prepare: script("cp /root/.ssh/authorized_keys /home/alice/.ssh/; echo down for maintenance >/etc/nologin"), host: "alice@NODE",
		status: 125, stderr: noShell + `.*\(down for maintenance\)`},
	{name: "locked user", prepare: script(`cp /root/.ssh/authorized_keys /home/alice/.ssh/; sed -i 's/^alice:\*:/alice:!:/' /etc/shadow`), host: "alice@NODE", status: 125, stderr: refused("alice")},
	{name: "unknown user", prepare: script("true"), host: "nobody-here@NODE", status: 125, stderr: refused("nobody-here")},
	{name: "encrypted key, no terminal", prepare: script("true"), config: "Host *\n  IdentityFile SHARED/encrypted\n  IdentitiesOnly yes\n",
		status: 125, stderr: `authenticate: key .*/encrypted: it is encrypted: there is no terminal to ask for its passphrase on: load it into an agent first: ssh-add `},
	{name: "changed host key", prepare: func(h labtest.Host, sh func(string)) {
		sh("rm /etc/ssh/ssh_host_ed25519_key && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
		h.SSHD("restart")
	}, status: 125, stderr: `host key: it has changed: `},
	{name: "unknown host key", prepare: script("true"), config: "Host *\n  GlobalKnownHostsFile /dev/null\n",
		status: 125, stderr: `host key: ssh-ed25519 SHA256:\S+ is not known: compare it with the host's own and accept it: ssh -F \S+ -o StrictHostKeyChecking=ask NODE true, or pass --accept-new`},
	{name: "unknown host key, --accept-new", prepare: script("true"), config: "Host *\n  GlobalKnownHostsFile /dev/null\n  UserKnownHostsFile /tmp/NODE\n",
		args: []string{"--accept-new"}, stderr: `^pprun: NODE: new host key ssh-ed25519 SHA256:\S+ added to /tmp/NODE\n$`},
	{name: "revoked host key", prepare: script("true"), config: "Host *\n  UserKnownHostsFile SHARED/revoked\n", args: []string{"--accept-new"},
		status: 125, stderr: `host key: ssh-ed25519 SHA256:\S+ is revoked in SHARED/revoked:\d: do not trust this host`},
	{name: "own name differs", prepare: script("hostname cn-0004.cluster.example"), stdout: "on cn-0004.cluster.example"},

	{name: "sshd stopped", prepare: func(h labtest.Host, _ func(string)) { h.SSHD("stop") }, status: 125, stderr: `connect: .*connection refused: is sshd running there on port 22\?`},
	{name: "frozen host", prepare: func(h labtest.Host, _ func(string)) { h.Freeze() }, config: impatient, status: 125, stderr: `banner: timed out after 3s: `, slow: true},
	{name: "dropped packets", prepare: func(h labtest.Host, _ func(string)) { h.DropIP(labtest.Both) }, config: impatient, status: 125, stderr: `connect: .*timed out after 3s: is sshd running there\?`, slow: true},
	{name: "dropped packets, default timeout", prepare: func(h labtest.Host, _ func(string)) { h.DropIP(labtest.In) }, status: 125, stderr: `connect: .*timed out after 10s: is sshd running there\?`, slow: true},
	{name: "cut cable", prepare: func(h labtest.Host, _ func(string)) { h.Cut() }, config: impatient, status: 125, stderr: `connect: .*(timed out after 3s: is sshd running there|no route to host: is the host up)`, slow: true},
	{name: "power failure", prepare: func(h labtest.Host, _ func(string)) { h.Crash() }, config: impatient, status: 125, stderr: `connect: .*(timed out after 3s: is sshd running there|no route to host: is the host up)`, slow: true, down: true},
	{name: "dropped answers", prepare: func(h labtest.Host, _ func(string)) { h.DropIP(labtest.Out) }, config: impatient, status: 125, stderr: `connect: timed out after 3s: is sshd running there\?`, slow: true},
	{name: "killed host", prepare: func(h labtest.Host, _ func(string)) { h.Kill() }, config: impatient, status: 125, stderr: `connect: .*(timed out after 3s: is sshd running there|no route to host: is the host up|connection refused: is sshd running there)`, slow: true, down: true}, // it refuses until its cable is gone, too
	{name: "10 Mbit/s", prepare: func(h labtest.Host, _ func(string)) { h.Rate("10mbit") }},
	{name: "50 ms round trip", prepare: func(h labtest.Host, _ func(string)) { h.Delay(25 * time.Millisecond) }},
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
	l.Output("head", "sh", "-c", "sed 's/^/@revoked /' /etc/ssh/ssh_known_hosts >/shared/revoked")
	const where = "#!/bin/sh\necho rank $PPRUN_RANK on $(hostname)\nexit\n"
	program := l.file("where", where)
	l.file("where-large", where+strings.Repeat("\n", 30e6))

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
	all.Go(func() {
		t.Run("dead name server", func(t *testing.T) { deadNameServer(t, l.in(t), "dead name server, 100 names", &rows) })
	})
	all.Wait()
	for _, c := range []struct {
		name string
		f    func(*testing.T, lab, string, *table)
	}{{"own name is 127.0.1.1, one docker0 address", ownName}, {"--ssh, four nodes", sshCommand}, {"IPv6 only", ipv6Only}} {
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

// Names are looked up all at once, and for five seconds at most: else eight would pass without any progress.
func deadNameServer(t *testing.T, l lab, name string, table *table) {
	began := time.Now()
	r := l.finish(l.Exec("head", "unshare", "-m", "sh", "-c", `echo nameserver 10.77.0.200 >/tmp/resolv.conf && mount --bind /tmp/resolv.conf /etc/resolv.conf &&
		exec "$0" --start-timeout 8s --host un[1-100]:1 true`, l.pprun))
	table.add(name, r, time.Since(began))
	const why = `: resolve: (timed out after 5s|name server 10.77.0.200:53: i/o timeout): does the name server answer\?\n` // whichever comes first
	r.want(t, 125, `^pprun: (un\[1-100\]`+why+`|100 of 100 nodes failed:\n(pprun:   un\S+`+why+`){2})$`)
}

// Nodes without IPv4 addresses find each other.
func ipv6Only(t *testing.T, l lab, name string, table *table) {
	l.Output("head", "ip", "-6", "addr", "add", "fd77::99/64", "dev", "eth0", "nodad")
	config := ""
	for i := 5; i <= 6; i++ {
		l.Output(fmt.Sprintf("node%d", i), "sh", "-c", fmt.Sprintf("ip -6 addr add fd77::%d/64 dev eth0 nodad && ip -4 addr flush dev eth0", i))
		config += fmt.Sprintf("Host six%d\n  HostName fd77::%d\n  HostKeyAlias node%d\n", i, i, i)
	}
	began := time.Now()
	r := l.finish(l.Exec("head", l.pprun, "-F", l.file("six.conf", config), "--host", "six[5-6]:1", l.build("hello")))
	table.add(name, r, time.Since(began))
	r.want(t, 0, "^$")
	if !strings.Contains(r.stdout, "rank 0 of 2 on node5\n") || !strings.Contains(r.stdout, "rank 1 of 2 on node6\n") {
		t.Errorf("stdout:\n%s", r.stdout)
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
		`^pprun: rank 1 on node4 \(pid \d+, after \S+\): exit status 9: job aborted, 1 other rank ended\n$`)
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
	if c.large {
		program += "-large"
		defer func() {
			if left := l.Output(node, "find", "/root", "/tmp", "/var/tmp", "/dev/shm", "-name", ".new-*"); left != "" {
				l.t.Errorf("half-written: %s", left)
			}
		}()
	}
	cmd := l.Exec("head", "env", append([]string{"-C", "/", "timeout", "-s", "KILL", fmt.Sprint(deadline.Seconds())}, append(args, program)...)...)
	began := time.Now()
	r := l.finish(cmd)
	r.stderr = patient.ReplaceAllString(r.stderr, "")
	table.add(c.name, r, time.Since(began))
	if lines := strings.Count(r.stderr, "\n"); lines > 1 || c.status != 0 && lines == 0 {
		l.t.Errorf("%d lines on stderr:\n%s", lines, r.stderr)
	}
	if c.status == 0 && !strings.HasSuffix(r.stdout, cmp.Or(c.stdout, "on "+node)+"\n") {
		l.t.Errorf("stdout: %s", r.stdout)
	}
	if c.agent != "" {
		l.Output(node, "sh", "-c", `test -x "$0"/agent-*`, c.agent)
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
