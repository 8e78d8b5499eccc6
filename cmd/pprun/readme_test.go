package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// TestReadme runs every block of README.md, from top to bottom, in one directory that holds the checkout:
//
//	console        commands after "$ ", each followed by what it prints; "..." stands for anything
//	console hosts  the same on a machine from which node1 .. node4 can be reached, with the files made so far
//	console servers  the same as alice, on the host before "$ "; but on head, commands go on once they have printed that
//	go             the program that becomes main.go
//
// "$ cat FILE" makes a FILE that is not there.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	parseTree(t) // so that a cached result holds only while no file has changed
	here := newSession(t)
	for _, b := range blocks(string(text)) {
		switch b.kind {
		case "console":
			for _, c := range b.commands() {
				here.run(t, c)
			}
		case "console hosts":
			t.Run("hosts", func(t *testing.T) { onHosts(t, here, b) })
		case "console servers":
			t.Run("servers", func(t *testing.T) { onServers(t, here, b) })
		case "go":
			here.program = b.text
		default:
			t.Errorf("README.md:%d: a block of kind %q, which no test runs", b.line, b.kind)
		}
	}
}

type block struct {
	kind, text string
	line       int // of its first line
}

func blocks(text string) []block {
	var all []block
	var open *block
	n := 0
	for line := range strings.Lines(text) {
		n++
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			open = &block{kind: strings.TrimSpace(fence), line: n + 1}
		case isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line
		}
	}
	return all
}

var prompt = regexp.MustCompile(`^(\w*)\$ `)

type command struct {
	host       string // before the prompt
	text, want string
	line       int
}

func (b block) commands() []command {
	var all []command
	n := b.line
	for line := range strings.Lines(b.text) {
		if m := prompt.FindStringSubmatch(line); m != nil {
			all = append(all, command{host: m[1], text: strings.TrimSpace(line[len(m[0]):]), line: n})
		} else {
			all[len(all)-1].want += line
		}
		n++
	}
	return all
}

// compare reports where the output is not what the README says.
func (c command) compare(t *testing.T, out string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("README.md:%d: %s: %v\n%s", c.line, c.text, err, out)
	}
	if !c.prints(out) {
		t.Errorf("README.md:%d: %s\nprints:\n%s\nwhere the README says:\n%s", c.line, c.text, out, c.want)
	}
}

// prints reports whether the output is what the README says.
func (c command) prints(out string) bool {
	want := strings.Split(strings.TrimSpace(c.want), "\n")
	got := strings.Split(strings.TrimSpace(out), "\n")
	same := len(want) == len(got)
	for i := 0; same && i < len(want); i++ {
		same = like(got[i], want[i])
	}
	return same
}

// like reports whether line is pattern, in which "..." stands for anything.
func like(line, pattern string) bool {
	parts := strings.Split(pattern, "...")
	rest, ok := strings.CutPrefix(line, parts[0])
	for i, part := range parts[1:] {
		if !ok {
			return false
		}
		if i == len(parts)-2 {
			return strings.HasSuffix(rest, part)
		}
		_, rest, ok = strings.Cut(rest, part)
	}
	return ok && rest == ""
}

// A session is a shell that keeps its directory from command to command.
type session struct {
	home    string // holds pprun, the checkout, and bin, where go install puts commands
	dir     string
	program string // of the last go block
}

func newSession(t *testing.T) *session {
	home := t.TempDir()
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(checkout, filepath.Join(home, "pprun")); err != nil {
		t.Fatal(err)
	}
	return &session{home: home, dir: home}
}

func (s *session) run(t *testing.T, c command) {
	t.Helper()
	if c.text == "go test ./..." {
		return // which is running
	}
	where := filepath.Join(s.home, "where")
	cmd := exec.Command("sh", "-c", c.text+"\nstatus=$?; pwd >'"+where+"'; exit $status")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PWD="+s.dir, "GOBIN="+filepath.Join(s.home, "bin"),
		"PATH="+filepath.Join(s.home, "bin")+":"+os.Getenv("PATH"))
	out, err := output(cmd)
	c.compare(t, out, err)
	dir, err := os.ReadFile(where)
	if err != nil {
		t.Fatal(err)
	}
	s.dir = strings.TrimSpace(string(dir))
	if s.program != "" && strings.Contains(c.text, "mkdir") {
		write(t, filepath.Join(s.dir, "main.go"), s.program)
	}
}

// onHosts runs a block on a host of the lab, in a directory with the files of the session's.
func onHosts(t *testing.T, s *session, b block) {
	lab := labtest.Up(t, labtest.Config{Hosts: 4})
	lab.Install("pprun", filepath.Join(s.home, "bin", "pprun"))
	lab.Install("basel", filepath.Join(s.dir, "basel"))
	for _, c := range b.commands() {
		if name, ok := strings.CutPrefix(c.text, "cat "); ok {
			write(t, filepath.Join(lab.Shared(), name), c.want)
		}
		shared := lab.Path("")
		script := fmt.Sprintf("cd %s; PATH=%s:$PATH; %s", shared, shared, c.text)
		out, err := output(lab.Exec("head", "sh", "-c", script))
		c.compare(t, out, err)
	}
}

// onServers runs a block on hosts of which all but head keep what is started there.
func onServers(t *testing.T, s *session, b block) {
	lab := labtest.Up(t, labtest.Config{Hosts: 3})
	if lab.Mode() != labtest.Root {
		t.Skip("needs accounts of its own: root mode only")
	}
	for name, dir := range map[string]string{"pprun": filepath.Join(s.home, "bin"), "ppserver": filepath.Join(s.home, "bin"), "basel": s.dir} {
		lab.Install(name, filepath.Join(dir, name))
	}
	example := filepath.Join(t.TempDir(), "servers")
	if out, err := exec.Command("go", "build", "-o", example, "../../examples/servers").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	lab.Install("servers", example)
	for _, name := range []string{"basel", "servers"} {
		lab.Output("head", "ln", "-s", lab.Path(name), "/home/alice/"+name)
	}
	for _, c := range b.commands() {
		command := func() *exec.Cmd {
			return lab.ExecUser(c.host, "alice", "sh", "-c", fmt.Sprintf("cd; PATH=%s:$PATH; %s", lab.Path(""), c.text))
		}
		if c.host == "head" {
			out, err := output(command())
			for end := time.Now().Add(eventually); strings.HasPrefix(c.text, "ppserver status") && !c.prints(out) && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond) // clients that have ended are still leaving
				out, err = output(command())
			}
			c.compare(t, out, err)
			continue
		}
		cmd := command()
		stdout, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		r, out := bufio.NewReader(stdout), ""
		for range strings.Count(c.want, "\n") {
			line, err := r.ReadString('\n')
			if out += line; err != nil {
				break
			}
		}
		c.compare(t, out, nil)
	}
}

var noise = regexp.MustCompile(`^go: |^\tgo mod tidy|: they share CPUs\n$|` + patient.String())

// output is what a terminal would show, but for what go says on its way, and what says that this machine has few processors
// or is busy.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	var kept []byte
	for line := range bytes.Lines(out) {
		if !noise.Match(line) {
			kept = append(kept, line...)
		}
	}
	return string(kept), err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
