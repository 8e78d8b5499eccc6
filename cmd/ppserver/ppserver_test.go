package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/launch/door"
)

// TestMain lets the test binary be ppserver, and the agents of its clients.
func TestMain(m *testing.M) {
	if os.Getenv("PPSERVER_TEST_MAIN") != "" || len(os.Args) > 1 && (os.Args[1] == "agent" || os.Args[1] == "guard") {
		main()
	}
	os.Exit(m.Run())
}

// running is a ppserver on this machine.
type running struct {
	t       *testing.T
	cmd     *exec.Cmd
	keys    string
	address string
	stdout  *bufio.Reader
	stderr  bytes.Buffer // read after end
}

// command is ppserver with a directory of keys.
func command(keys string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append([]string{"--keys", keys}, args...)...)
	cmd.Env = append(os.Environ(), "PPSERVER_TEST_MAIN=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// start starts a ppserver without keys.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	return startWith(t, filepath.Join(t.TempDir(), "keys"), args...)
}

// startWith starts one with a directory of keys.
func startWith(t *testing.T, keys string, args ...string) *running {
	t.Helper()
	r := &running{t: t, keys: keys}
	if os.Getuid() == 0 {
		args = append(args, "--run-as", "nobody")
	}
	r.cmd = command(r.keys, append(args, "--listen", "127.0.0.1:0")...) // whose port it says
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.cmd.Process.Kill(); r.cmd.Wait() != nil && t.Failed() {
			t.Logf("ppserver said:\n%s", &r.stderr)
		}
	})
	r.stdout = bufio.NewReader(out)
	line, err := r.stdout.ReadString('\n')
	m := regexp.MustCompile(`^ppserver on (127\.0\.0\.1:\d+), slots: \d+, key SHA256:`).FindStringSubmatch(line)
	if m == nil {
		r.cmd.Wait()
		t.Fatalf("ppserver says %q, %v\n%s", line, err, &r.stderr)
	}
	r.address = m[1]
	return r
}

// login makes a client, whose agent answers.
func (r *running) login() *agent.Conn {
	r.t.Helper()
	c := r.dial()
	if h := r.ask(c, agent.Version); h != agent.KindReady {
		r.t.Fatalf("a frame of kind %d, want ready", h)
	}
	return c
}

func (r *running) dial() *agent.Conn {
	r.t.Helper()
	ring, err := door.Open(r.keys)
	if err != nil {
		r.t.Fatal(err)
	}
	conn, err := door.Dial(r.t.Context(), r.address, ring, false)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return agent.NewConn(conn)
}

// ask says hello and returns the kind of the answer.
func (r *running) ask(c *agent.Conn, version int) frame.Kind {
	r.t.Helper()
	if err := c.SendValue(frame.Header{Kind: agent.KindHello}, agent.Hello{Version: version, Job: "0123456789abcdef", Host: "here"}); err != nil {
		r.t.Fatal(err)
	}
	for {
		h, payload, err := c.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		if h.Kind == agent.KindFailure {
			if f, err := agent.Decode[agent.Failure](payload); err != nil || f.Fix != "use one version of pprun" {
				r.t.Errorf("%+v, %v", f, err)
			}
		}
		if h.Kind != agent.KindBeat {
			return h.Kind
		}
	}
}

// end waits for the end in order.
func (r *running) end() {
	r.t.Helper()
	late := time.AfterFunc(time.Minute, func() { r.cmd.Process.Kill() })
	defer late.Stop()
	if err := r.cmd.Wait(); err != nil {
		r.t.Errorf("ppserver: %v\n%s", err, &r.stderr)
	}
	if _, err := os.Stat(filepath.Join(r.keys, "secret.loopback")); !errors.Is(err, fs.ErrNotExist) {
		r.t.Errorf("the secret is left: %v", err)
	}
}

func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

func TestVersionOfAgent(t *testing.T) {
	r := start(t)
	if kind := r.ask(r.dial(), agent.Version+1); kind != agent.KindFailure {
		t.Errorf("a frame of kind %d, want a failure", kind)
	}
	r.signal(syscall.SIGINT)
	r.end()
}

// With -t it ends by itself.
func TestIdle(t *testing.T) {
	start(t, "-t", "1").end()
}

// Its pid file ends with it.
func TestPidFile(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	r := start(t, "-P", pidFile)
	if text, err := os.ReadFile(pidFile); err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(r.cmd.Process.Pid) {
		t.Errorf("pid file: %q, %v, want %d", text, err, r.cmd.Process.Pid)
	}
	r.signal(syscall.SIGINT)
	r.end()
	if _, err := os.Stat(pidFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pid file is left: %v", err)
	}
}

// What others have put in the place of the pid file is left alone.
func TestPlantedPidFile(t *testing.T) {
	public, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.Chmod(public, 0o777|fs.ModeSticky), os.WriteFile(victim, []byte("precious"), 0o600), os.Symlink(victim, public+"/link"),
		os.Link(victim, public+"/name"), syscall.Mkfifo(public+"/pipe", 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"link": "is no regular file", "pipe": "is no regular file", "name": "has another name elsewhere"} {
		args := []string{"-P", filepath.Join(public, name), "--listen", "127.0.0.1:0"}
		if os.Getuid() == 0 {
			args = append(args, "--run-as", "nobody")
		}
		out, err := command(filepath.Join(t.TempDir(), "keys"), args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "--pid-file: open "+public+"/"+name+": "+want) {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
	if b, err := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("the victim holds %q, %v", b, err)
	}
}

// TERM lets clients finish and takes no new ones.
func TestDrain(t *testing.T) {
	r := start(t, "--log-format", "json")
	c := r.login()
	r.signal(syscall.SIGTERM)
	for {
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			break
		}
		conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
	c.Send(frame.Header{Kind: agent.KindBye}, nil)
	for kind := frame.Kind(0); kind != agent.KindDone; {
		h, _, err := c.Next()
		if err != nil {
			t.Fatalf("a client that was there is ended: %v", err)
		}
		kind = h.Kind
	}
	c.Close()
	r.end()
	var said []string
	for line := range strings.Lines(r.stderr.String()) {
		var entry struct{ Msg, Key, Address, Agent string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if entry.Key == "secret" && strings.HasPrefix(entry.Address, "127.0.0.1:") {
			said = append(said, entry.Msg+" "+entry.Agent)
		}
	}
	if got := strings.Join(said, ","); got != "login ,end exit status 0" {
		t.Errorf("the log has %q:\n%s", got, &r.stderr)
	}
}

// await reads frames up to one of a kind.
func (r *running) await(c *agent.Conn, kind frame.Kind) {
	r.t.Helper()
	for {
		h, payload, err := c.Next()
		if err != nil || h.Kind == agent.KindFailure {
			r.t.Fatalf("%q, %v instead of a frame of kind %d", payload, err, kind)
		}
		if h.Kind == kind {
			return
		}
	}
}

// until waits for what is to come.
func until(t *testing.T, what string, come func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !come(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// status is what ppserver status says.
func (r *running) status(args ...string) string {
	r.t.Helper()
	out, err := command(r.keys, append([]string{"status", r.address}, args...)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("ppserver status: %v\n%s", err, out)
	}
	return string(out)
}

// Who asks hears what runs; the log and the statistics have it in the end.
func TestStatus(t *testing.T) {
	r := start(t, "-w", "3")
	if got := r.status(); !regexp.MustCompile(`^ppserver on \S+, up \d+s, key SHA256:\S+\nslots: 3, 0 in use, 3 free\nclients: 0 now, 0 since the start, 0 refused\n`).MatchString(got) {
		t.Errorf("ppserver status:\n%s", got)
	}
	c := r.login()
	c.SendValue(frame.Header{Kind: agent.KindStart}, agent.Start{
		Program: agent.Program{Path: "/bin/sleep"}, Args: []string{"600"}, Ranks: []agent.Rank{{}, {Rank: 1, LocalRank: 1}},
		Size: 2, Nodes: []string{"here"}, NodeOf: []int{0, 0}, Slots: []int{1, 1},
	})
	r.await(c, agent.KindStarted)
	if got := r.status(); !regexp.MustCompile(`slots: 3, 2 in use, 1 free\nclients: 1 now, 1 since the start, 0 refused\n  127\.0\.0\.1:\d+  secret  for \d+s  ranks: 2  /bin/sleep\n`).MatchString(got) {
		t.Errorf("ppserver status:\n%s", got)
	}
	var said report
	if err := json.Unmarshal([]byte(r.status("--json")), &said); err != nil || len(said.Clients) != 1 || said.Clients[0].Job != "0123456789abcdef" {
		t.Errorf("%+v, %v", said, err)
	}
	c.Send(frame.Header{Kind: agent.KindKill, ID: 1000}, nil)
	r.await(c, agent.KindExit)
	r.await(c, agent.KindExit)
	c.Send(frame.Header{Kind: agent.KindBye}, nil)
	r.await(c, agent.KindDone)
	c.Close()
	until(t, "the client is gone", func() bool { return strings.Contains(r.status(), "clients: 0 now") })
	r.signal(syscall.SIGUSR1)
	var table string
	for !strings.Contains(table, "active tasks") {
		line, err := r.stdout.ReadString('\n')
		if table += line; err != nil {
			t.Fatalf("%v: %s", err, table)
		}
	}
	if !regexp.MustCompile(`job server\n +2 \| +100\.00 \| +\d+\.\d{4} \| +\d+\.\d{6} \| secret\nTime elapsed since server creation \d+\.\d+\n0 active tasks, 3 cores\n$`).MatchString(table) {
		t.Errorf("statistics:\n%s", table)
	}
	r.signal(syscall.SIGTERM)
	r.end()
	for _, want := range []string{`msg=job .*key=secret job=0123456789abcdef program=/bin/sleep sha256=""`, `msg=end .*program=/bin/sleep .*status=143 .*agent="exit status 0"`} {
		if !regexp.MustCompile(want).MatchString(r.stderr.String()) {
			t.Errorf("the log has no %s:\n%s", want, &r.stderr)
		}
	}
}

// Nobody is told who may not come in, and where no server is an error says so.
func TestStatusRefused(t *testing.T) {
	r := start(t)
	out, err := command(filepath.Join(t.TempDir(), "other"), "status", r.address).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is not known") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = command(r.keys, "status", "127.0.0.1:1").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no answer from a ppserver at 127.0.0.1:") {
		t.Errorf("%v: %s", err, out)
	}
	r.signal(syscall.SIGTERM)
	r.end()
}

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ppserver.conf")
	for _, c := range []struct{ text, args, want string }{
		{"# comment\n\nworkers = 7 # on each\nport=7070\nlog-format = json\n\t# comment\n", "", ""},
		{"workers = 3\nport=7070\nlog-format = json\n", "-w 7", ""},
		{"workers = 3\nworkers = 4\n", "", ":2: workers: is in line 1, too"},
		{"workers = many\n", "", `:1: workers = "many": must be an integer`},
		{"\nworkers 3\n", "", `:2: "workers 3": want flag = value`},
		{"slots = 3\n", "", `:1: "slots" is no flag`},
		{"secret = hunter2\n", "", ":1: secret: is for ppserver keygen"},
		{"config = other\n", "", ":1: config: a file of options names no other"},
		{"port = 0\n", "", "--port 0: want a port"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		o, err := parse(append(strings.Fields(c.args), "--config", file))
		switch {
		case c.want == "" && (err != nil || o.workers != 7 || o.port != 7070 || !o.logJSON):
			t.Errorf("%q: %+v, %v", c.text, o, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
	os.Chmod(file, 0o666)
	if _, err := parse([]string{"--config", file}); err == nil || !strings.Contains(err.Error(), "others may change it") {
		t.Errorf("%v", err)
	}
}

// A second TERM ends the clients, too.
func TestSecondTerm(t *testing.T) {
	r := start(t)
	c := r.login()
	r.signal(syscall.SIGTERM)
	for {
		if _, err := net.Dial("tcp", r.address); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.signal(syscall.SIGTERM)
	for err := error(nil); err == nil; {
		_, _, err = c.Next()
	}
	r.end()
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"--listen 0.0.0.0", 64, "is every address of this machine: name one"},
		{"--listen [::]:7", 64, "is every address of this machine: name one"},
		{"--listen 192.0.2.1", 1, "without keys anybody could come in: ppserver keygen"},
		{"--secret", 64, "a secret never stands on a command line"},
		{"--port 70000", 64, "want a port from 1 to 65535"},
		{"-w 0", 64, "want at least 1"},
		{"--log-format xml", 64, "want text or json"},
		{"--max-processes 3", 64, "want at least 64"},
		{"--max-upload much", 64, "want a number of bytes, such as 500M or 2G"},
		{"--max-time 5", 64, "must be a duration like"},
		{"--nonsense", 64, "see ppserver --help"},
		{"-s hunter2", 64, "-s: a secret never stands on a command line"},
		{"--listen eth0", 64, ": want an address of this machine, as "},
		{"--workers 9 --max-ranks 8", 64, "--workers 9 and --max-ranks 8: "},
		{"nonsense", 64, "no such command: want keygen, status or authorize"},
		{"keygen secret", 64, "keygen secret: takes no arguments"},
		{"status a b", 64, "status a b: want one server"},
		{"authorize", 64, "want a key as ppserver keygen prints it"},
		{"authorize rubbish", 64, "is no public key"},
	} {
		args := strings.Fields(c.args)
		if os.Getuid() == 0 {
			args = append([]string{"--run-as", "nobody"}, args...)
		}
		cmd := command(filepath.Join(t.TempDir(), "keys"), args...)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.HasPrefix(string(out), "ppserver: ") || !strings.Contains(string(out), c.want) {
			t.Errorf("ppserver %s: exit status %d, want %d: %s, want %q", c.args, got, c.status, out, c.want)
		}
	}
	for _, arg := range []string{"--help", "help"} {
		out, err := command(t.TempDir(), arg).Output()
		if lines := bytes.Count(out, []byte("\n")); err != nil || lines < 10 || lines > 50 {
			t.Errorf("%s: %d lines, %v", arg, lines, err)
		}
	}
	for _, arg := range []string{"--version", "version"} {
		out, err := command(t.TempDir(), arg).Output()
		if !bytes.HasPrefix(out, []byte("ppserver ")) || !bytes.Contains(out, []byte("launcher-agent ")) {
			t.Errorf("%s: %q, %v", arg, out, err)
		}
	}
	if o, err := parse([]string{"--workers", "1000"}); err != nil || o.Ranks != 1000 {
		t.Errorf("--workers 1000: --max-ranks %v, %v", o, err)
	}
}

// Standard input gives a key, too.
func TestAuthorize(t *testing.T) {
	keys, others := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "keys")
	run := func(cmd *exec.Cmd) string {
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		return string(out)
	}
	run(command(keys, "keygen", "--secret"))
	said := run(command(others, "keygen"))
	public := regexp.MustCompile(`ed25519 [^']+`).FindString(said)
	cmd := command(keys, "authorize", "-")
	cmd.Stdin = strings.NewReader(public + " other\n")
	run(cmd)
	text, err := os.ReadFile(filepath.Join(keys, "authorized_clients"))
	if err != nil || !strings.HasSuffix(string(text), public+" other\n") {
		t.Errorf("%q, %v", text, err)
	}
	if st, err := os.Stat(filepath.Join(keys, "secret")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("secret: %v, %v", st, err)
	}
}

// The unit for systemd starts ppserver with options that it has, and confines it.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../../scripts/jobs/ppserver.service")
	if err != nil {
		t.Fatal(err)
	}
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/ppserver (.*)$`).FindSubmatch(text)
	if start == nil {
		t.Fatal("no ExecStart")
	}
	if o, err := parse(strings.Fields(string(start[1]))); err != nil || o.command != "" || o.keys != "/etc/ppserver" {
		t.Errorf("%s: %+v, %v", start[1], o, err)
	}
	for _, line := range []string{"NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "MemoryMax=", "TasksMax=", "User=", "Delegate="} {
		if !regexp.MustCompile(`(?m)^` + line).Match(text) {
			t.Errorf("no %s", line)
		}
	}
}
