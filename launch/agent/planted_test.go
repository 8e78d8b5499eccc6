//go:build linux

package agent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is the uid of the tests' attacker.
const nobody = 65534

// TestPlantedEntries plants what it can where a program is cached, in a cache that was open to all once. The program is
// uploaded anew, or not started; what was planted is not executed, and what it leads to is not changed.
func TestPlantedEntries(t *testing.T) {
	program := []byte("#!/bin/sh\necho right\n")
	evil := bytes.Replace(program, []byte("right"), []byte("wrong"), 1) // of the same length
	digest, stream := digestOf(program), compress(t, program)
	for _, c := range []struct {
		name   string
		root   bool // only root can do it
		cached bool // it is a good entry
		plant  func(entry, victim string) error
		want   string // why it is not started; empty: it is, as it should
	}{
		{"program", false, true, func(entry, _ string) error { return os.WriteFile(entry, program, 0o500) }, ""},
		{"other bytes", false, false, func(entry, _ string) error { return os.WriteFile(entry, evil, 0o500) }, ""},
		{"for all to write", false, false, func(entry, _ string) error {
			return errors.Join(os.WriteFile(entry, program, 0o500), os.Chmod(entry, 0o777))
		}, ""},
		{"for the group to write", false, false, func(entry, _ string) error {
			return errors.Join(os.WriteFile(entry, program, 0o500), os.Chmod(entry, 0o570))
		}, ""},
		{"of another", true, false, func(entry, _ string) error {
			return errors.Join(os.WriteFile(entry, program, 0o500), os.Lchown(entry, nobody, nobody))
		}, ""},
		{"link", false, false, func(entry, victim string) error { return os.Symlink(victim, entry) }, ""},
		{"link of another", true, false, func(entry, victim string) error {
			return errors.Join(os.Symlink(victim, entry), os.Lchown(entry, nobody, nobody))
		}, ""},
		{"link to nothing", false, false, func(entry, victim string) error { return os.Symlink(victim+".new", entry) }, ""},
		{"hard link", false, false, func(entry, victim string) error { return os.Link(victim, entry) }, ""},
		{"fifo", false, false, func(entry, _ string) error { return syscall.Mkfifo(entry, 0o500) }, ""},
		{"socket", false, false, func(entry, _ string) error { return syscall.Mknod(entry, syscall.S_IFSOCK|0o500, 0) }, ""},
		{"directory", false, false, func(entry, _ string) error { return os.Mkdir(entry, 0o700) }, "file exists"},
		{"directory above of another", true, false, func(entry, _ string) error {
			return errors.Join(os.WriteFile(entry, evil, 0o500), os.Chown(filepath.Dir(entry), nobody, nobody))
		}, "belongs to uid 65534: remove it"},
		{"directory above for all to write", false, false, func(entry, _ string) error {
			return errors.Join(os.WriteFile(entry, evil, 0o500), os.Chmod(filepath.Dir(entry), 0o777))
		}, "others may write there (mode 0777): remove it"},
		{"link above", false, false, func(entry, victim string) error {
			dir := filepath.Dir(entry)
			return errors.Join(os.Remove(dir), os.Symlink(filepath.Dir(victim), dir))
		}, "not a directory: remove it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && os.Getuid() != 0 {
				t.Skip("needs root, to make files of another user")
			}
			dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "prog")
			if err := os.WriteFile(victim, evil, 0o500); err != nil {
				t.Fatal(err)
			}
			entry := filepath.Join(dir, digest, "prog")
			if err := errors.Join(os.Mkdir(filepath.Dir(entry), 0o700), c.plant(entry, victim)); err != nil {
				t.Fatal(err)
			}
			l := launchAgent(t, "PPRUN_CACHE="+dir)
			l.hello(time.Second)
			got, f := l.stage(1, programStage(program), stream)
			switch {
			case c.want != "" && (f == nil || !strings.Contains(f.Text, c.want) || !strings.Contains(f.Text, dir)):
				t.Errorf("%+v, %+v, want %q", got, f, c.want)
			case c.want == "" && (f != nil || got.Cached != c.cached):
				t.Errorf("%+v, %+v, want it cached: %v", got, f, c.cached)
			case c.want == "":
				s := sh(1, "")
				s.Program = Program{Stage: 1}
				l.start(s)
				if l.exited(1); l.out[0].String() != "right\n" {
					t.Errorf("printed %q", l.out[0])
				}
			}
			l.bye()
			if b, err := os.ReadFile(victim); err != nil || !bytes.Equal(b, evil) {
				t.Errorf("the victim holds %q, %v", b, err)
			}
		})
	}
}

// TestHostileParents offers the agent directories for its sockets and files where others could put theirs in their place.
func TestHostileParents(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(open, "below") // ours, but not where it is
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, parent := range []string{open, below, filepath.Join(open, "nothing")} {
		l := launchAgent(t, "XDG_RUNTIME_DIR="+parent, "TMPDIR="+parent, "XDG_CACHE_HOME="+parent)
		l.hello(time.Second)
		s := sh(1, "echo $PPRUN_AGENT $PWD")
		s.Dir, s.DirGiven = "", false
		l.start(s)
		if l.exited(1); strings.Count(l.out[0].String(), "/tmp/pprun-") != 2 || strings.Contains(l.out[0].String(), open) {
			t.Errorf("with %s socket and directory are %q", parent, l.out[0])
		}
		l.bye()
	}
}
