package agent

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

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
	case syscall.EAGAIN:
		return a.noProcess(p)
	case syscall.ENOEXEC:
		return a.unfit(126, p.path, a.noFormat(p), "")
	}
	why := err.Error()
	if l := OwnLimits(); err == syscall.EMFILE && l.Files > 0 {
		why += fmt.Sprintf(" in its agent (ulimit -Hn: %d)", l.Files)
	} else if err == syscall.EAGAIN && l.Processes > 0 {
		why += fmt.Sprintf(": no room for another process (%s leaves %d)", l.By, l.Processes)
	}
	return a.unfit(125, p.path, why, "")
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
	return a.inspect(f, p.path, getenv(p.env, "LD_LIBRARY_PATH"))
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
	longest := 32 * os.Getpagesize() // MAX_ARG_STRLEN of Linux
	total := 0
	for what, list := range map[string][]string{"argument": p.argv, "environment variable": p.env} {
		for i, s := range list {
			total += len(s) + 9
			name := fmt.Sprintf("%s %d", what, i)
			if what != "argument" {
				name = what + " " + nameOf(s)
			}
			if strings.ContainsRune(s, 0) {
				return a.unfit(64, p.path, name+" contains a NUL byte", "pass it in a file")
			}
			if err == syscall.E2BIG && len(s) >= longest {
				return a.unfit(64, p.path, fmt.Sprintf("%s has %d bytes: want at most %d", name, len(s), longest-1), "pass it in a file")
			}
		}
	}
	var stack unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_STACK, &stack)
	return a.unfit(64, p.path, fmt.Sprintf("arguments and environment have %d bytes: want at most %d, a quarter of the stack's limit (ulimit -s)",
		total, min(stack.Cur/4, 6<<20)), "pass them in a file")
}
