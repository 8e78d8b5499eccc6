package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
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

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/launch"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

// farmed is a lab of three hosts with a ppserver on each, and pprun on head.
type farmed struct {
	lab
	ppserver string               // its path there
	servers  map[string]*exec.Cmd // by host
	said     map[string]*said     // by host
}

func (f *farmed) in(t *testing.T) *farmed {
	sub := *f
	sub.lab = f.lab.in(t)
	return &sub
}

func TestServers(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir, "../ppserver", "../../examples/primes").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	f := &farmed{lab: lab{Lab: labtest.Up(t, labtest.Config{Hosts: 3}), t: t}, servers: map[string]*exec.Cmd{}, said: map[string]*said{}}
	if f.Mode() != labtest.Root {
		t.Skip("needs accounts of its own: root mode only")
	}
	f.pprun, f.ppserver = f.Install("pprun", exe), f.Install("ppserver", filepath.Join(dir, "ppserver"))
	f.Install("primes", filepath.Join(dir, "primes"))
	f.Output("head", f.ppserver, "keygen")
	f.Output("head", "cp", "-a", "/root/.config/pprun", f.Path("keys"))
	for n := 1; n <= 3; n++ {
		host := fmt.Sprintf("node%d", n)
		f.Output(host, "sh", "-c", "mkdir -p /root/.config && cp -a "+f.Path("keys")+" /root/.config/pprun")
		f.start(host)
	}
	for _, c := range []struct {
		name string
		f    func(*testing.T, *farmed)
	}{
		{"results as at home", sameResults},
		{"keys", wrongKeys},
		{"strangers", strangers},
		{"flood", floodedServer},
		{"two clients", twoClients},
		{"discovered", discovered},
		{"sniffer", func(t *testing.T, f *farmed) { sniffed(t, f.lab, "--servers", "node1,node2") }},
		{"client killed", clientKilled},
		{"client cut off", clientCutOff},
		{"server killed", serverKilled},
		{"server missing", serverMissing},
		{"server restarted", serverRestarted},
		{"self", selfOnServers},
		{"serverRefusals", serverRefusals},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, f.in(t)) })
	}
}

// start starts a ppserver on a host and waits until it listens.
func (f *farmed) start(host string) {
	f.t.Helper()
	cmd, log := f.Exec(host, f.ppserver, "--run-as", "alice"), new(said)
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	r := bufio.NewReader(out)
	var lines []string
	for range 3 {
		line, err := r.ReadString('\n')
		if err != nil {
			f.t.Fatalf("ppserver on %s: %v: %s%s", host, err, lines, log)
		}
		lines = append(lines, line)
	}
	address := regexp.QuoteMeta(f.Host(host).Addr()) + ":60000"
	want := `^ppserver on ` + address + `, slots: \d+, key SHA256:\S+\nuse it with: pprun --servers ` + address + ` ./prog\n.*known_servers: ` + address + ` ed25519 \S+\n$`
	if said := strings.Join(lines, ""); !regexp.MustCompile(want).MatchString(said) {
		f.t.Errorf("ppserver says:\n%swant %s", said, want)
	}
	go io.Copy(io.Discard, r)
	f.servers[host], f.said[host] = cmd, log
}

// with runs pprun on the servers.
func (f *farmed) with(servers string, args ...string) result {
	f.t.Helper()
	return f.finish(f.Exec("head", f.pprun, append([]string{"--servers", servers}, args...)...))
}

func sums(text string) string {
	return strings.Join(regexp.MustCompile(`(?m)^Sum of .*$`).FindAllString(text, -1), "\n")
}

func sameResults(t *testing.T, f *farmed) {
	home := f.finish(f.Exec("head", f.Path("primes")))
	there := f.with("node1,node2,node3", "-v", f.Path("primes"))
	there.want(t, 0, `^pprun: \d+ ranks on 4 nodes \(head:\d+ node1:\d+ node2:\d+ node3:\d+\), .* 3 copied 0 cached, `)
	if sums(there.stdout) == "" || sums(there.stdout) != sums(home.stdout) {
		t.Errorf("on servers:\n%s\nat home:\n%s", there.stdout, home.stdout)
	}
	again := f.finish(f.Exec("head", "env", "PPRUN_SERVERS=node1:60000*1,node[2-3]*2", f.pprun, "--local", "0", "-v", f.Path("primes")))
	again.want(t, 0, `^pprun: 6 ranks on 4 nodes \(head:1 node1:1 node2:2 node3:2\), 0 copied 3 cached, `)
	if sums(again.stdout) != sums(home.stdout) || !strings.HasPrefix(again.stdout, "Starting with 5 slots\n") {
		t.Errorf("on servers:\n%s", again.stdout)
	}
	f.finish(f.Exec("node1", f.pprun, "--servers", "node1*1", "--local", "0", "true")).want(t, 0, `^$`) // a server on the same machine
	who := f.with("node1*1", "--local", "1", "sh", "-c", "echo $(hostname) $(id -un) $(grep NoNewPrivs /proc/self/status)")
	if who.want(t, 0, `^$`); !strings.Contains(who.stdout, "node1 alice NoNewPrivs: 1\n") {
		t.Errorf("programs run as:\n%s", who.stdout)
	}
}

func wrongKeys(t *testing.T, f *farmed) {
	run := func(keys string, args ...string) result {
		return f.finish(f.Exec("head", "env", append([]string{"PPRUN_KEYS=" + keys, f.pprun, "--servers", "node1"}, args...)...))
	}
	f.Output("head", f.ppserver, "--keys", "/root/other", "keygen")
	run("/root/other", "true").want(t, 125, `^pprun: node1: its key is SHA256:\S+, but /root/other/known_servers has SHA256:\S+: somebody else may have answered`)
	run("/root/none", "true").want(t, 125, `^pprun: node1: its key SHA256:\S+ is not known: .*\npprun: node1:60000 ed25519 \S+\n$`)
	run("/root/none", "--accept-new", "true").want(t, 125, `^pprun: node1: the ppserver refuses this client: it has no key and no secret: ppserver keygen`)
	f.Output("head", "cp", "/root/.config/pprun/known_servers", "/root/other/known_servers")
	run("/root/other", "true").want(t, 125, `^pprun: node1: the ppserver refuses this client: its key SHA256:\S+ is not authorized`)

	public := f.Output("head", "sh", "-c", f.ppserver+" --keys /root/other keygen | sed -n \"s/.*authorize '\\(.*\\)'/\\1/p\"")
	f.Output("node1", f.ppserver, "authorize", public, "other")
	f.signal("node1", "HUP")
	f.awaits("node1", "keys read again")
	run("/root/other", "true").want(t, 0, `^$`)

	j := f.tasking("node1*1", "PPRUN_KEYS=/root/other") // whose key is then taken away
	j.busy(t, 1)
	f.Output("node1", "sh", "-c", "sed -i /other/d /root/.config/pprun/authorized_clients")
	f.signal("node1", "HUP")
	j.hears(t, 1)
	j.end(t, 0, `^pprun: lost node1: .*: rank 1 ran there: their tasks are redone elsewhere\n$`)
	run("/root/other", "true").want(t, 125, `is not authorized`)
}

func (f *farmed) signal(host, name string) {
	f.t.Helper()
	f.Output(host, "pkill", "-"+name, "-f", "^"+f.ppserver+" --run-as") // in that host's own processes
}

// awaits waits until a server has said something.
func (f *farmed) awaits(host, text string) {
	f.t.Helper()
	for end := time.Now().Add(eventually); !strings.Contains(f.said[host].String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%s does not say %q:\n%s", host, text, f.said[host])
		}
	}
}

// tasking starts a job on servers whose tasks wait, with one rank on head.
func (f *farmed) tasking(servers string, env ...string) *tasking {
	f.t.Helper()
	return f.taskingBy(slices.Concat(env, []string{f.pprun, "--servers", servers, "--local", "1", f.pprun, "tasking"})...)
}

// taskingBy starts such a job by a command, to which the directory is added.
func (f *farmed) taskingBy(command ...string) *tasking {
	f.t.Helper()
	dir, err := os.MkdirTemp(f.Shared(), "tasking")
	if err != nil {
		f.t.Fatal(err)
	}
	os.Chmod(dir, 0o777)
	j := &tasking{dir: dir}
	j.start(f.t, f.Exec("head", "env", append(command, f.Path(filepath.Base(dir)))...))
	return j
}

// working says whether a process is a rank of such a job.
func (f *farmed) working(p labtest.Process) bool {
	return len(p.Args) > 1 && (p.Args[1] == "tasking" || p.Args[1] == "self")
}

func twoClients(t *testing.T, f *farmed) {
	a, b := f.tasking("node[1-2]*2"), f.tasking("node[1-2]*2")
	for rank := range 5 {
		a.busy(t, rank)
		b.busy(t, rank)
	}
	status := f.Output("head", f.ppserver, "status", "node1")
	if n := len(regexp.MustCompile(`(?m)^  \S+ +SHA256:\S+ +for \d+s +ranks: 2 +pprun \(sha256 [0-9a-f]{12}\)$`).FindAllString(status, -1)); n != 2 || !strings.Contains(status, "clients: 2 now") {
		t.Errorf("ppserver status:\n%s", status)
	}
	a.end(t, 0, `^$`)
	b.end(t, 0, `^$`)
	f.gone("node1", "node2")
	f.awaits("node1", "msg=end address="+f.Host("head").Addr())
	if log := f.said["node1"].String(); !regexp.MustCompile(`msg=end .*key=SHA256:\S+ job=[0-9a-f]{16} program=pprun sha256=[0-9a-f]{64} status=0 `).MatchString(log) {
		t.Errorf("node1 says:\n%s", log)
	}
}

// Servers that announce themselves are found by whoever has their secret.
func discovered(t *testing.T, f *farmed) {
	f.Output("head", f.ppserver, "--keys", f.Path("secret"), "keygen", "--secret")
	f.Output("head", f.ppserver, "--keys", f.Path("stranger"), "keygen", "--secret")
	for _, host := range []string{"node1", "node3"} {
		f.Output(host, "cp", "-a", f.Path("secret"), "/root/secret")
		cmd := f.Exec(host, f.ppserver, "--run-as", "alice", "--port", "7071", "--keys", "/root/secret", "--announce")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { labtest.Signal(cmd, syscall.SIGTERM); cmd.Wait() }()
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	discover := func(keys string, args ...string) result {
		return f.finish(f.Exec("head", "env", append([]string{"PPRUN_KEYS=" + keys, f.pprun, "--discover", "--local", "0"}, args...)...))
	}
	r := discover(f.Path("secret"), "-l", "hostname")
	if r.want(t, 0, `^$`); !strings.Contains(r.stdout, "node1\n") || !strings.Contains(r.stdout, "node3\n") || strings.Contains(r.stdout, "node2\n") {
		t.Errorf("stdout:\n%s", r.stdout)
	}
	once := strings.Count(r.stdout, "node1\n")
	r = discover(f.Path("secret"), "--servers", "node1:7071", "-l", "hostname")
	if r.want(t, 0, `^$`); strings.Count(r.stdout, "node1\n") != once {
		t.Errorf("with one of them named, too, which has %d ranks:\n%s", once, r.stdout)
	}
	r = f.finish(f.Exec("node1", "env", "PPRUN_KEYS=/root/secret", f.pprun, "--discover", "--local", "1", "hostname"))
	if r.want(t, 0, `^$`); strings.Count(r.stdout, "node1\n") != 1 || !strings.Contains(r.stdout, "node3\n") {
		t.Errorf("with a server on the same machine:\n%s", r.stdout)
	}
	r = f.finish(f.Exec("head", "env", "PPRUN_KEYS="+f.Path("secret"), f.pprun, "discovering"))
	if r.want(t, 0, `^$`); r.stdout != "3 machines\n" {
		t.Errorf("a program that discovers: %q", r.stdout)
	}
	discover(f.Path("secret"), "--min-servers", "3", "true").want(t, 125, `^pprun: search for servers: there are 2, and at least 3 are wanted\n$`)
	discover(f.Path("stranger"), "true").want(t, 125, `^pprun: search for servers: none answers`)
	discover("/root/.config/pprun", "true").want(t, 125, `^pprun: search for servers: servers are found by a secret .*: ppserver keygen --secret\n$`)
}

// beDiscovering is a program that finds its servers itself.
func beDiscovering() {
	comm.Main(func(_ context.Context, c *comm.Comm) error {
		_, err := fmt.Println(len(c.Nodes()), "machines")
		return err
	}, comm.Via(launch.Discover(""), launch.MinServers(2), launch.Local(0)))
}

// gone waits until nothing is left of clients.
func (f *farmed) gone(hosts ...string) {
	f.t.Helper()
	began := time.Now()
	defer func() { f.t.Logf("gone from %v after %v", hosts, time.Since(began).Round(10*time.Millisecond)) }()
	for _, host := range hosts {
		f.WaitGone(host, func(p labtest.Process) bool {
			return f.working(p) || len(p.Args) > 1 && (p.Args[1] == "agent" || p.Args[1] == "guard")
		}, 30*time.Second)
	}
}

func clientKilled(t *testing.T, f *farmed) {
	j := f.tasking("node[1-3]*2")
	for rank := range 7 {
		j.busy(t, rank)
	}
	j.cmd.Process.Kill()
	j.cmd.Wait()
	f.gone("node1", "node2", "node3")
}

// Servers that hear nothing of a client any more end what it has started.
func clientCutOff(t *testing.T, f *farmed) {
	j := f.tasking("node[1-3]*1")
	for rank := range 4 {
		j.busy(t, rank)
	}
	f.Host("head").DropIP(labtest.Both)
	f.gone("node1", "node2", "node3")
	f.Host("head").Undrop()
	j.cmd.Process.Kill()
	j.cmd.Wait()
}

func serverKilled(t *testing.T, f *farmed) {
	j := f.tasking("node[1-3]*2")
	for rank := range 7 {
		j.busy(t, rank)
	}
	f.signal("node2", "KILL")
	j.hears(t, 1)
	f.gone("node2")
	j.end(t, 0, `^pprun: lost node2: .*: ranks 3-4 ran there: their tasks are redone elsewhere\n$`)
	f.servers["node2"].Wait()
	f.start("node2")
}

// killServer kills the server of a host and all that it has started.
func (f *farmed) killServer(host string) {
	f.t.Helper()
	f.signal(host, "KILL")
	f.gone(host)
	f.servers[host].Wait()
}

func serverRestarted(t *testing.T, f *farmed) {
	j := f.taskingBy(f.pprun, "--rejoin", "--servers", "node[1-3]*1", "--local", "1", f.pprun, "tasking")
	for rank := range 4 {
		j.busy(t, rank)
	}
	pid := j.busy(t, 2)
	f.killServer("node2")
	j.hears(t, 1)
	f.start("node2")
	j.busy(t, 2, pid)
	j.end(t, 0, `^pprun: lost node2: .*: rank 2 ran there: their tasks are redone elsewhere, it is used again when it is back\n`+
		`(pprun: node2: cannot be used again yet: .*\n)?pprun: node2 is used again: rank 2\n$`)
}

func serverMissing(t *testing.T, f *farmed) {
	f.killServer("node2")
	f.with("node[1-3]*1", "true").want(t, 125, `^pprun: node2: .*connection refused`)
	r := f.with("node[1-3]*1", "--local", "1", "--min-servers", "2", "hostname")
	r.want(t, 0, `^pprun: node2: .*connection refused.*: the job goes on without it\n$`)
	if n := strings.Count(r.stdout, "\n"); n != 3 || strings.Contains(r.stdout, "node2") {
		t.Errorf("stdout:\n%s", r.stdout)
	}
	f.with("node[1-3]*1", "--min-servers", "3", "true").want(t, 125, `^pprun: node2: .*connection refused`)
	f.start("node2")
	f.with("node[1-3]*1", "--local", "1", "hostname").want(t, 0, `^$`)
}

// A thousand strangers connect each second; a client still has its job done.
func strangers(t *testing.T, f *farmed) {
	flood := f.Exec("node3", f.pprun, "flood", f.Host("node1").Addr()+":60000")
	out, err := flood.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	began := time.Now()
	r := f.with("node1*2", "--local", "0", f.Path("primes"))
	r.want(t, 0, `^$`)
	took := time.Since(began)
	clients := regexp.MustCompile(`(?m)^clients: .*$`).FindString(f.Output("head", f.ppserver, "status", "node1"))
	t.Logf("served after %v; %s", took.Round(10*time.Millisecond), clients)
	flood.Process.Kill()
	flood.Wait()
	if n := strings.Count(f.said["node1"].String(), "msg=refused "); n == 0 || n > 200 {
		t.Errorf("%d lines about refusals", n)
	}
}

// Strangers keep the door of a server busy; a job there goes on, and another client has its own done.
func floodedServer(t *testing.T, f *farmed) {
	j := f.steady("head", "--servers", "node1*1", "--local", "1")
	f.flooded(j, f.Host("node1").Addr()+":60000", func() time.Duration {
		began := time.Now()
		f.with("node1*1", "--local", "0", "true").want(t, 0, `^$`)
		return time.Since(began)
	})
	j.end()
}

// flood logs in a thousand times each second without a key, and prints how often it was turned away, until it is killed.
func flood(address string) {
	turned := make(chan error)
	go func() {
		for range time.Tick(time.Millisecond) {
			go func() {
				conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"ppserver"}})
				if err == nil {
					conn.Write(make([]byte, 100))
					_, err = io.ReadAll(conn)
					conn.Close()
					if err == nil {
						err = errors.New("let in")
					}
				}
				turned <- err
			}()
		}
	}()
	for n := 1; ; n++ {
		<-turned
		if n%1000 == 0 {
			fmt.Println(n)
		}
	}
}

// What a ppserver refuses to begin with.
func serverRefusals(t *testing.T, f *farmed) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, `programs of clients do not run as root: name a user with --run-as`},
		{[]string{"--run-as", "root"}, `--run-as root: is root`},
		{[]string{"--run-as", "alice"}, `address already in use: is another ppserver running there\?`},
		{[]string{"--run-as", "alice", "--listen", "0.0.0.0"}, `--listen 0.0.0.0:60000: is every address of this machine: name one`},
		{[]string{"--run-as", "alice", "--keys", "/root/none", "--listen", "node1:6"}, `--listen node1:6: without keys anybody could come in: ppserver keygen`},
		{[]string{"--secret"}, `a secret never stands on a command line`},
		{[]string{"--port", "0"}, `--port 0: want a port from 1 to 65535`},
	} {
		r := f.finish(f.Exec("node1", f.ppserver, c.args...))
		if r.status == 0 || !regexp.MustCompile(`^ppserver: .*`+c.want).MatchString(r.stderr) {
			t.Errorf("ppserver %q: exit status %d: %s, want %s", c.args, r.status, r.stderr, c.want)
		}
	}
	f.Output("node1", "chmod", "644", "/root/.config/pprun/server.key")
	r := f.finish(f.Exec("node1", f.ppserver, "--run-as", "alice", "--port", "7"))
	r.want(t, 1, `^ppserver: keys: /root/.config/pprun/server.key: others may read it \(mode 0644\): chmod 600 /root/.config/pprun/server.key\n$`)
	f.Output("node1", "chmod", "600", "/root/.config/pprun/server.key")
	f.Host("node1").Plug()
	r = f.finish(f.Exec("node1", f.ppserver, "--run-as", "alice", "--port", "7"))
	r.want(t, 1, `^ppserver: this machine has several addresses: give one of them with --listen: \S+, \S+\n$`)
}
