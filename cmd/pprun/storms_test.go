package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// signalStorms ends jobs on hosts as TestSignalStorm does those that a command reaches.
func signalStorms(t *testing.T, l lab) {
	if l.Mode() != labtest.Root {
		t.Skip("needs processes of each host alone, and to look into its files: root mode only")
	}
	big := l.Install("big", bigScript(t))
	anyOf := func(p labtest.Process) bool {
		return len(p.Args) > 1 && (p.Args[1] == "agent" || p.Args[1] == "guard" || p.Args[1] == "100" || strings.Contains(p.String(), "up.$PPRUN_RANK"))
	}
	for i, c := range []struct {
		phase, slots string
		args         []string
		begun        func(dir string) bool
	}{
		{"connect", "2", []string{"sleep", "100"}, func(string) bool { return true }},
		{"upload", "2", []string{big}, func(string) bool { return there(l.Root("node2"), "root/.cache/pprun/*/.new-*")() }},
		{"start", "12", []string{"sh", "-c", stormRank}, func(dir string) bool { return there(dir, "up.*")() }},
		{"run", "2", []string{"sh", "-c", stormRank}, func(dir string) bool { return ranksUp(dir, 8)() }},
		{"end", "2", []string{"sh", "-c", stormEnd}, func(dir string) bool { return there(dir, "ending")() }},
	} {
		t.Run(c.phase, func(t *testing.T) {
			name := "storm." + c.phase
			dir := filepath.Join(l.Shared(), name)
			if err := os.Mkdir(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			var stderr said
			cmd := l.Exec("head", "env", append([]string{"D=" + l.Path(name), l.pprun, "-q", "--host", "node[1-4]:" + c.slots}, c.args...)...)
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			until(t, &stderr, "phase", func() bool { return c.begun(dir) })
			go storm(uint64(i), func(s syscall.Signal) error { return labtest.Signal(cmd, s) })
			if awaitEnd(t, cmd, &stderr); cmd.ProcessState.Success() {
				t.Error("exit status 0")
			}
			t.Logf("%v: %s", cmd.ProcessState, &stderr)
			for n := 1; n <= 4; n++ {
				node := fmt.Sprintf("node%d", n)
				l.in(t).WaitGone(node, anyOf, 20*time.Second)
				wantNoneHalfWritten(t, filepath.Join(l.Root(node), "root/.cache/pprun"))
			}
		})
	}
}

const (
	stormRank = `trap : USR1; [ $PPRUN_RANK != 0 ] || trap 'touch $D/ending; sleep 0.3; exit 1' TERM; touch $D/up.$PPRUN_RANK; while :; do sleep 0.05; done`
	stormEnd  = `[ $PPRUN_RANK != 1 ] || { until [ -e $D/up.0 ]; do sleep 0.01; done; exit 9; }; ` + stormRank
)

// ranksUp says whether so many ranks run.
func ranksUp(dir string, ranks int) func() bool {
	return func() bool { found, _ := filepath.Glob(filepath.Join(dir, "up.*")); return len(found) == ranks }
}

// there says whether a file is there that a pattern below dir matches.
func there(dir, pattern string) func() bool {
	return func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		return found != nil
	}
}

// until waits for something that a job is to do.
func until(t *testing.T, said fmt.Stringer, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(eventually); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still no %s; pprun says:\n%s", what, said)
		}
	}
}

// bigScript makes a program that takes a while to copy, since it cannot be compressed well.
func bigScript(t *testing.T) string {
	t.Helper()
	big := filepath.Join(t.TempDir(), "big")
	noise := make([]byte, 32<<20)
	for i := 0; i < len(noise); i += 8 {
		*(*[8]byte)(noise[i:]) = [8]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(rand.Uint64()), byte(rand.Uint64()), byte(i >> 3), byte(i >> 11), 10}
	}
	if err := os.WriteFile(big, append([]byte("#!/bin/sh\nexec sleep 100\n"), noise...), 0o700); err != nil {
		t.Fatal(err)
	}
	return big
}

// storm sends 1,000 signals in a second, but none to somebody who has ended.
func storm(seed uint64, send func(syscall.Signal) error) {
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGWINCH, syscall.SIGUSR1}
	random := rand.New(rand.NewPCG(seed, 0))
	for range 1000 {
		if send(signals[random.IntN(len(signals))]) != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// wantNoneHalfWritten looks for what an upload has left.
func wantNoneHalfWritten(t *testing.T, cache string) {
	t.Helper()
	filepath.WalkDir(cache, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), ".new-") {
			t.Errorf("%s is left", path)
		}
		return err
	})
}
