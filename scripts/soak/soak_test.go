package main

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// TestSoak kills a random rank that serves every second.
func TestSoak(t *testing.T) {
	tasks, kills := 1000, 15
	if os.Getenv("SOAK") == "long" {
		tasks, kills = 1_000_000, 300
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir+"/", "../../cmd/pprun", ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	lab := labtest.Up(t, labtest.Config{Hosts: 4})
	busy := filepath.Join(lab.Shared(), "busy")
	if err := os.Mkdir(busy, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(busy, 0o777); err != nil { // whatever the umask
		t.Fatal(err)
	}
	cmd := lab.Exec("head", lab.Install("pprun", filepath.Join(dir, "pprun")), "--hosts", lab.HostsFile(3), "--respawn", strconv.Itoa(kills),
		lab.Install("soak", filepath.Join(dir, "soak")), "-tasks", strconv.Itoa(tasks), "-busy", lab.Path("busy"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "soak: ") {
	}
	said := make(chan string, 1)
	go func() { // ends with the job
		var rest strings.Builder
		for lines.Scan() {
			rest.WriteString(lines.Text() + "\n")
		}
		said <- rest.String()
	}()
	ranks := len(processes(t, busy))
	hits := kill(t, lab, busy, kills)
	for end := time.Now().Add(time.Minute); len(processes(t, busy)) < ranks; time.Sleep(10 * time.Millisecond) { // the last loss counts, too
		if time.Now().After(end) {
			t.Errorf("%d ranks serve, want %d", len(processes(t, busy)), ranks)
			break
		}
	}
	stdin.Close()
	report := <-said
	err = cmd.Wait()
	t.Logf("%d kills, %d of them hit a running task\n%s", kills, hits, report)
	if err != nil || !regexp.MustCompile(`: 0 without exactly one result`).MatchString(report) {
		t.Errorf("%v\n%s", err, last(stderr.String(), 20))
	}
	if told := strings.Count(stderr.String(), "(SIGKILL): its tasks are redone, started again"); told != kills {
		t.Errorf("%d losses are told, want %d:\n%s", told, kills, last(stderr.String(), 20))
	}
	if hits < kills/3 {
		t.Errorf("%d of %d kills hit a running task", hits, kills)
	}
	for _, host := range []string{"node1", "node2", "node3", "node4"} {
		lab.WaitGone(host, func(p labtest.Process) bool { return p.Command() == "soak" || p.Command() == "pprun" }, 10*time.Second)
	}
}

// processes lists the files of those that serve.
func processes(t *testing.T, busy string) []os.DirEntry {
	t.Helper()
	files, err := os.ReadDir(busy)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// kill kills a random process of those that have a file in busy every second, n times, and counts those that were
// running a task.
func kill(t *testing.T, lab *labtest.Lab, busy string, n int) (hits int) {
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	for range n {
		<-pace.C
		files := processes(t, busy)
		if len(files) == 0 {
			t.Fatal("no process to kill")
		}
		name := files[rand.N(len(files))].Name()
		_, where, _ := strings.Cut(name, ".")
		at := strings.LastIndexByte(where, '.')
		host, pid := where[:at], where[at+1:]
		if lab.Mode() == labtest.Loopback { // all hosts are this machine
			host = "node1"
		}
		lab.Output(host, "kill", "-9", pid)
		running, err := os.ReadFile(filepath.Join(busy, name))
		if err != nil {
			t.Fatal(err)
		}
		if string(running) == "\x01" {
			hits++
		}
		if err := os.Remove(filepath.Join(busy, name)); err != nil {
			t.Fatal(err)
		}
	}
	return hits
}

// last returns the last lines of a text.
func last(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
