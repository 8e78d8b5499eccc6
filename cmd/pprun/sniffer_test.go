package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pprun/pprun/comm"
)

var (
	carry = comm.Register("carry", func(ctx context.Context, b []byte) ([]byte, error) { return b, nil })
	pass  = comm.Register("pass", func(ctx context.Context, s string) (int, error) {
		c, _ := comm.FromContext(ctx)
		fmt.Println(s)
		fmt.Fprintln(os.Stderr, s)
		next, last := (c.Rank()+1)%c.Size(), (c.Rank()+c.Size()-1)%c.Size()
		if err := c.SendMessage(ctx, next, 7, []byte(s)); err != nil {
			return 0, err
		}
		b, err := c.RecvMessage(ctx, last, 7)
		return len(b), err
	})
)

// beCarrier sends what it reads from its input in every way that there is: as small and large arguments and results of
// tasks, as messages from rank to rank, as output and as errors.
func beCarrier() {
	comm.Main(func(ctx context.Context, c *comm.Comm) error {
		b, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		for _, n := range []int{1, 1000, 9 << 20 / len(b)} { // the last are fetched, not sent
			if _, err := carry.OnAll(ctx, bytes.Repeat(b, n)); err != nil {
				return err
			}
		}
		_, err = pass.OnAll(ctx, string(b))
		return err
	})
}

// sniffed listens on the bridge between the hosts while a job sends a marker in all its ways, as its program's argument,
// variable and file, too, and finds none; and finds it where it is sent as it is.
func sniffed(t *testing.T, l lab, nodes ...string) {
	const marker = "not-for-any-others-eyes-4711"
	file := l.file("marked", marker)
	heard := l.overhear(marker, func() {
		cmd := l.Exec("head", "env", append(append([]string{"MARK=" + marker, l.pprun, "-q", "-n", "3", "-x", "MARK", "--stage", file}, nodes...), l.pprun, "carrier", marker)...)
		cmd.Stdin = strings.NewReader(marker)
		if r := l.finish(cmd); r.status != 0 || strings.Count(r.stdout, marker+"\n") != 3 || strings.Count(r.stderr, marker+"\n") != 3 {
			t.Errorf("the job: %.2000v", r)
		}
	})
	t.Logf("the job: %+v", heard)
	if heard.hits > 0 || heard.bytes < 20<<20 || heard.dropped > 0 {
		t.Errorf("%+v, want no hit in more than 20 MiB, and nothing missed", heard)
	}
	heard = l.overhear(marker, func() {
		l.Output("node2", "bash", "-c", "echo "+marker+" >/dev/tcp/"+l.Host("node1").Addr()+"/22")
	})
	t.Logf("in clear: %+v", heard)
	if heard.hits == 0 {
		t.Errorf("%+v of a marker that is sent in clear: this test sees nothing", heard)
	}
}

// A hearing is what a sniffer has heard.
type hearing struct{ frames, bytes, hits, dropped int }

// overhear sniffs at the lab's bridge while f runs.
func (l lab) overhear(marker string, f func()) (h hearing) {
	l.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	holder, err := os.ReadFile(filepath.Join(l.Dir(), "holder"))
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("nsenter", "-t", strings.Fields(string(holder))[0], "-n", exe, "attacker", "sniff", marker)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	defer cmd.Wait()
	if _, err := fmt.Fscanln(out); err != nil { // it listens
		l.t.Fatal(err)
	}
	f()
	in.Close()
	if _, err := fmt.Fscan(out, &h.frames, &h.bytes, &h.hits, &h.dropped); err != nil {
		l.t.Fatal(err)
	}
	return h
}
