//go:build linux

package launch_test

import (
	"syscall"
	"testing"
)

// As with nohup: what is ignored when a program begins stays so.
func TestAttachedIgnores(t *testing.T) {
	r := begin(t, "idle", "line")
	r.cmd.Args = append([]string{"sh", "-c", `trap "" INT; exec "$0" "$@"`, r.cmd.Path}, r.cmd.Args[1:]...)
	r.cmd.Path = "/bin/sh"
	in, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line := make([]byte, 8); true {
		if _, err := out.Read(line); err != nil || string(line) != "at work\n" {
			t.Errorf("read %q, %v", line, err)
		}
	}
	r.cmd.Process.Signal(syscall.SIGINT)
	in.Write([]byte("go\n"))
	r.cmd.Wait()
	r.ended(0, "")
}
