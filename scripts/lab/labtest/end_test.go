package labtest

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// victim names the variable that makes TestEnd, in a process of its own, raise a lab of that mode and wait to be killed.
const victim = "LABTEST_VICTIM"

func TestEnd(t *testing.T) {
	if mode := os.Getenv(victim); mode != "" {
		l := Up(t, Config{Hosts: 2, Mode: Mode(mode)})
		fmt.Println("dir", l.Dir())
		select {}
	}
	for _, mode := range []Mode{Root, UserNS, Loopback} {
		t.Run(string(mode), func(t *testing.T) {
			t.Run("holder killed", func(t *testing.T) {
				l, other := Up(t, Config{Hosts: 1, Mode: mode}), Up(t, Config{Hosts: 1, Mode: mode})
				b := bedOf(t, l)
				kill(t, b.holder)
				b.mustEnd(t)
				if got := other.Output("head", "ssh", "node1", "echo up"); got != "up" {
					t.Errorf("the other lab: %q", got)
				}
			})
			t.Run("test killed", func(t *testing.T) {
				Up(t, Config{Mode: mode}) // skips where a lab cannot be
				cmd := exec.Command(os.Args[0], "-test.run=^TestEnd$")
				cmd.Env = append(os.Environ(), victim+"="+string(mode))
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				line, _ := bufio.NewReader(out).ReadString('\n')
				dir, ok := strings.CutPrefix(strings.TrimSpace(line), "dir ")
				if !ok {
					t.Fatalf("victim says %q", line)
				}
				b := bedOf(t, &Lab{t: t, dir: dir})
				kill(t, cmd.Process.Pid)
				cmd.Wait()
				b.mustEnd(t)
			})
		})
	}
}

// A bed is what must end with a lab.
type bed struct {
	dir    string
	holder int
	pids   []int // processes that name the directory or live in a namespace of the lab
}

func bedOf(t *testing.T, l *Lab) bed {
	t.Helper()
	b := bed{dir: l.Dir()}
	data, err := os.ReadFile(filepath.Join(l.Dir(), "holder"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(data), &b.holder); err != nil {
		t.Fatal(err)
	}
	b.pids = processesOf(l.Dir())
	if len(b.pids) < 3 { // keeper, holder, node1's sshd
		t.Fatalf("the lab has too few processes: %v", b.pids)
	}
	return b
}

// mustEnd waits until nothing is left of the lab.
func (b bed) mustEnd(t *testing.T) {
	t.Helper()
	var left []string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		left = nil
		for _, pid := range append(processesOf(b.dir), b.pids...) {
			if p, ok := readProcess("/proc/" + strconv.Itoa(pid)); ok && p.State != 'Z' {
				left = append(left, p.String())
			}
		}
		if _, err := os.Stat(b.dir); !errors.Is(err, fs.ErrNotExist) {
			left = append(left, b.dir)
		}
		if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), b.dir) {
			left = append(left, "mounts")
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left of the lab:\n%s", strings.Join(left, "\n"))
}

// processesOf lists processes of this machine that have the directory in their arguments, environment or mounts.
func processesOf(dir string) []int {
	var pids []int
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range all {
		pid, _ := strconv.Atoi(filepath.Base(proc))
		for _, file := range []string{"cmdline", "environ", "mountinfo"} {
			data, _ := os.ReadFile(filepath.Join(proc, file))
			if pid != os.Getpid() && strings.Contains(string(data), dir) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}
