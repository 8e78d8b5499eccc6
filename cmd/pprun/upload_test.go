package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// beCutter runs a command as ssh would, and passes on what comes from the launcher up to a byte of the program, counted
// from the beginning of its compressed form. There it cuts the connection, or stalls it.
func beCutter(how string, at int, command string) {
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		panic(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	go func() {
		io.Copy(os.Stdout, stdout)
		os.Exit(0)
	}()
	begun, b := false, make([]byte, 4096)
	for {
		n, err := os.Stdin.Read(b)
		if err != nil {
			stdin.Close()
			select {} // until the agent ends
		}
		part := b[:n]
		if start := bytes.Index(part, []byte("\x28\xb5\x2f\xfd")); how != "pass" && !begun && start >= 0 {
			begun = true
			at += start
		}
		if !begun || at >= len(part) {
			if begun {
				at -= len(part)
			}
			stdin.Write(part)
			continue
		}
		stdin.Write(part[:at])
		if how == "cut" {
			os.Exit(255)
		}
		io.Copy(io.Discard, os.Stdin)
		stdin.Close()
		select {}
	}
}

// A connection that ends or stalls while the program is copied ends the job, and leaves nothing half-written.
func TestCutUpload(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, cache := t.TempDir(), t.TempDir()
	const size = 300_000
	noise := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(noise)
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, append([]byte("#!/bin/sh\necho ran\nexit\n"), noise...), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(how string, at int, args ...string) (string, int) {
		ssh := fmt.Sprintf("%s cutter %s %d", exe, how, at)
		cmd := exec.Command(exe, append([]string{"--host", "far:1", "--ssh", ssh}, args...)...)
		cmd.Env = append(os.Environ(), "PPRUN_TEST_MAIN=1", "PPRUN_CACHE="+cache)
		out, _ := cmd.CombinedOutput()
		return patient.ReplaceAllString(string(out), ""), cmd.ProcessState.ExitCode()
	}
	if out, status := run("pass", 0, "true"); status != 0 { // brings the agent there
		t.Fatalf("status %d: %s", status, out)
	}
	for _, c := range []struct {
		how  string
		at   int
		want string
	}{
		{"cut", 0, `ended \(exit status 255\).*`},
		{"cut", 1, `ended \(exit status 255\).*`},
		{"cut", size / 2, `ended \(exit status 255\).*`},
		{"cut", size, `ended \(exit status 255\).*`},
		{"stall", 1, "silent for 1s"},
		{"stall", size, "silent for 1s"},
	} {
		t.Run(fmt.Sprint(c.how, " at ", c.at), func(t *testing.T) {
			out, status := run(c.how, c.at, "--heartbeat-timeout", "1s", program)
			if status != 125 || !regexp.MustCompile(`^pprun: far: its agent is .*`+c.want+`\n$`).MatchString(out) {
				t.Errorf("status %d: %s\nwant %s", status, out, c.want)
			}
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				left, _ := filepath.Glob(cache + "/*/*")
				hidden, _ := filepath.Glob(cache + "/*/.*")
				if left = append(left, hidden...); len(left) == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("left: %q", left)
				}
			}
		})
	}
	if out, status := run("pass", 0, program); status != 0 || out != "ran\n" {
		t.Errorf("status %d: %s", status, out)
	}
}
