package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Ranks elsewhere read standard input as they would here, and leave the rest.
func remoteStdin(t *testing.T, l lab) {
	for _, c := range []struct{ name, script, want string }{
		{"a loop over a pipe", `cat abc | while read x; do $pprun -n 1 true; echo $x; done`, "a\nb\nc\n"},
		{"a loop over a file", `while read x; do $pprun -n 1 true; echo $x; done <abc`, "a\nb\nc\n"},
		{"a loop over a socket", `cat abc | socat -t 60 - "EXEC:sh loop"`, "a\nb\nc\n"},
		{"some bytes of a pipe", `cat abc | { $pprun -n 1 head -c 3; cat; }`, "a\nb\nc\n"},
		{"a line of a pipe", `cat abc | { $pprun -n 1 sh -c "read x; echo got \$x"; cat; }`, "got a\nb\nc\n"},
		{"part of much", `head -c 2000000 /dev/zero | { $pprun -n 1 sh -c "head -c 1000000 | wc -c"; wc -c; }`, "1000000\n1000000\n"},
		{"all ranks", `cat abc | { $pprun -n 3 --stdin all --ppn 1 sh -c "head -c \$((PPRUN_RANK * 2)) >/dev/null"; cat; }`, "c\n"},
		{"all of it", `cat abc | { $pprun -n 1 wc -l; cat; }`, "3\n"},
		{"nothing", `: | $pprun -n 1 wc -c`, "0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath("socat"); err != nil && strings.Contains(c.script, "socat") {
				t.Skip("no socat")
			}
			r := l.in(t).shell(c.script)
			r.want(t, 0, "")
			if r.stdout != c.want {
				t.Errorf("stdout %q, want %q\nstderr:\n%s", r.stdout, c.want, r.stderr)
			}
		})
	}
	t.Run("a pipe that stays open", func(t *testing.T) { openPipe(t, l.in(t)) })
	t.Run("a writer that waits", func(t *testing.T) { waitingWriter(t, l.in(t)) })
	t.Run("200 MB", func(t *testing.T) { bigStdin(t, l.in(t)) })
}

// shell runs a script on head, in which $pprun runs ranks on the four hosts.
func (l lab) shell(script string) result {
	l.t.Helper()
	return l.finish(l.script(script))
}

func (l lab) script(script string) *exec.Cmd {
	return l.Exec("head", "sh", "-c", `export GORACE=atexit_sleep_ms=0; cd $(mktemp -d) && printf "a\nb\nc\n" >abc && pprun="`+l.pprun+` -q --hosts `+l.hosts+`"
		echo "while read x; do $pprun -n 1 true; echo \$x; done" >loop
		`+script)
}

// The job ends though its input does not, and takes nothing of what comes later.
func openPipe(t *testing.T, l lab) {
	cmd := l.script(`$pprun -n 1 echo ended; exec cat`)
	w, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r := started(t, cmd)
	wantLine(t, r, "ended\n")
	io.WriteString(w, "later\n")
	wantLine(t, r, "later\n")
	w.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Each line is there at once, and so is the end.
func waitingWriter(t *testing.T, l lab) {
	cmd := l.script(`$pprun -n 1 sh -c "echo up; while read x; do echo got \$x; done; echo end"`)
	w, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r := started(t, cmd)
	wantLine(t, r, "up\n")
	for _, line := range []string{"one\n", "two\n"} {
		io.WriteString(w, line)
		wantLine(t, r, "got "+line)
	}
	w.Close()
	wantLine(t, r, "end\n")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// started starts a command and returns its standard output.
func started(t *testing.T, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	t.Cleanup(func() { late.Stop() })
	return bufio.NewReader(out)
}

func wantLine(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if line, err := r.ReadString('\n'); line != want {
		t.Fatalf("got %q (%v), want %q", line, err, want)
	}
}

// A rank elsewhere gets all of the input and not a byte else.
func bigStdin(t *testing.T, l lab) {
	const size = 200_000_000
	sent, got := sha256.New(), sha256.New()
	cmd := l.Exec("head", l.pprun, "--hosts", l.hosts, "-n", "1", "cat")
	cmd.Stdin = io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sent)
	cmd.Stdout = got
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Error("what came back is not what was sent")
	}
}
