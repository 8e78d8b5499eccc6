package agent

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// execute runs a program to its end, with nothing on its standard streams.
func (a *agent) execute(path string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	defer a.reaper.starting()()
	fd := null.Fd()
	pid, err := spawn(path, []string{path}, &syscall.ProcAttr{Sys: session(), Files: []uintptr{fd, fd, fd}})
	if err != nil {
		return err
	}
	ended := make(chan ending, 1)
	a.reaper.expect(pid, watcher{ended: func(e ending) { ended <- e }})
	if e := <-ended; e.status != 0 {
		return fmt.Errorf("exit status %d", e.status.ExitStatus())
	}
	return nil
}

// unfit is a failure of a program that the node cannot run.
func (a *agent) unfit(code int, name, why, fix string) *Failure {
	return &Failure{Phase: "check", Rank: -1, Code: code, Text: fmt.Sprintf("%s on %s: %s", name, a.host, why), Fix: fix}
}

// inspect says what is certain to keep a program from running: an interpreter, loader or library that the node lacks.
// Where it is not certain it says nothing, and the program may try.
func (a *agent) inspect(f io.ReaderAt, name string) error {
	head := make([]byte, 4096)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return a.inspectScript(head, name)
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return a.inspectELF(f, name)
	}
	return nil
}

func (a *agent) inspectScript(head []byte, name string) error {
	line, _, _ := bytes.Cut(head[2:], []byte("\n"))
	fields := strings.Fields(strings.TrimRight(string(line), "\r"))
	if len(fields) == 0 {
		return a.unfit(126, name, "its #! line names no interpreter", "begin it with the path of one: #!/bin/sh")
	}
	interpreter := fields[0]
	if bytes.HasSuffix(line, []byte("\r")) && len(fields) == 1 {
		if _, err := os.Stat(interpreter + "\r"); err != nil {
			return a.unfit(126, name, "its #! line ends in CR, as Windows writes lines", "sed -i 's/\\r$//' "+name)
		}
	}
	if _, err := os.Stat(interpreter); errors.Is(err, os.ErrNotExist) {
		return a.unfit(127, name, fmt.Sprintf("its interpreter %s is not there", interpreter), "install it there, or change the #! line")
	}
	return nil
}

func (a *agent) inspectELF(r io.ReaderAt, name string) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil
	}
	loader := loaderOf(f)
	if loader == "" {
		return nil
	}
	if _, err := os.Stat(loader); errors.Is(err, os.ErrNotExist) {
		return a.unfit(127, name, fmt.Sprintf("its loader %s is not there", loader), "build it with CGO_ENABLED=0 (or statically), or for that system")
	}
	if missing := missingLibraries(f, loader); len(missing) > 0 {
		return a.unfit(127, name, "no "+strings.Join(missing, ", ")+" there", "install it there, or build with CGO_ENABLED=0 (or statically)")
	}
	return nil
}

// runnable checks a path on the node.
func (a *agent) runnable(path, dir string) error {
	full := path
	if !filepath.IsAbs(path) {
		full = filepath.Join(dir, path)
	}
	st, err := os.Stat(full)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return a.unfit(127, full, "no such file", "copy it there, or let pprun stage it")
	case err != nil:
		return a.unfit(126, full, reason(err), "")
	case st.IsDir():
		return a.unfit(126, full, "is a directory", "name a program in it")
	case unix.Access(full, unix.X_OK) != nil:
		return a.unfit(126, full, "not executable", "chmod +x "+full)
	}
	return nil
}

// lookPath finds a bare name on the PATH that the ranks get.
func (a *agent) lookPath(name, path string) (string, error) {
	var notExecutable string
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join(dir, name)
		if st, err := os.Stat(full); err != nil || st.IsDir() || !filepath.IsAbs(full) {
			continue
		}
		if unix.Access(full, unix.X_OK) == nil {
			return full, nil
		}
		notExecutable = full
	}
	if notExecutable != "" {
		return "", a.unfit(126, notExecutable, "not executable", "chmod +x "+notExecutable)
	}
	return "", a.unfit(127, name, "not found on PATH", "install it there, or write ./"+name+" for a program of your own, which pprun copies")
}

// explain says why a rank did not start, after the system has given its bare reason.
func (a *agent) explain(p *plan, r *rank, err error) error {
	f := a.reasonNotStarted(p, err)
	f.Phase, f.Rank = "start", r.Rank.Rank
	return f
}

func (a *agent) reasonNotStarted(p *plan, err error) *Failure {
	if unix.Access(p.dir, unix.X_OK) != nil {
		return a.unfit(125, p.dir, "cannot be the working directory: "+err.Error(), "name another one with --wdir")
	}
	switch err {
	case syscall.E2BIG, syscall.EINVAL:
		return a.badArguments(p, err)
	case syscall.ENOENT, syscall.ENOEXEC, syscall.EACCES:
		var f *Failure
		if errors.As(a.runnable(p.path, p.dir), &f) || errors.As(a.inspectPath(p), &f) {
			return f
		}
	}
	switch err {
	case syscall.ENOENT:
		return a.unfit(127, p.path, err.Error(), "")
	case syscall.EACCES:
		return a.unfit(126, p.path, "cannot be executed (mounted noexec?)", "")
	case syscall.ENOEXEC:
		return a.unfit(126, p.path, a.noFormat(p), "")
	}
	return a.unfit(125, p.path, err.Error(), "")
}

func (a *agent) open(p *plan) (*os.File, error) {
	if filepath.IsAbs(p.path) {
		return os.Open(p.path)
	}
	return os.Open(filepath.Join(p.dir, p.path))
}

func (a *agent) inspectPath(p *plan) error {
	f, err := a.open(p)
	if err != nil {
		return nil
	}
	defer f.Close()
	return a.inspect(f, p.path)
}

// noFormat says why the system does not take the file for a program.
func (a *agent) noFormat(p *plan) string {
	f, err := a.open(p)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() == 0 {
		return "is empty"
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return "has no #! line and is no program of this system"
	}
	machine := strings.ToLower(strings.TrimPrefix(e.Machine.String(), "EM_"))
	return fmt.Sprintf("is a program for %s machines, the node is %s/%s", machine, runtime.GOOS, runtime.GOARCH)
}

// badArguments names what the system refuses among arguments and environment.
func (a *agent) badArguments(p *plan, err error) *Failure {
	const longest = 128 << 10 // MAX_ARG_STRLEN of Linux
	total := 0
	for what, list := range map[string][]string{"argument": p.argv, "environment variable": p.env} {
		for i, s := range list {
			total += len(s) + 9
			name := fmt.Sprintf("%s %d", what, i)
			if what != "argument" {
				name = what + " " + nameOf(s)
			}
			if strings.ContainsRune(s, 0) {
				return a.unfit(125, p.path, name+" contains a NUL byte", "")
			}
			if err == syscall.E2BIG && len(s) >= longest {
				return a.unfit(125, p.path, fmt.Sprintf("%s has %d bytes, at most %d", name, len(s), longest-1), "pass it in a file")
			}
		}
	}
	return a.unfit(125, p.path, fmt.Sprintf("arguments and environment have %d bytes: %v", total, err), "pass them in a file")
}
