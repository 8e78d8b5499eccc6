package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A round that failed may never fail again, so that what it tells must do: the diary says what happened when, and the
// evidence what processes that should have ended were waiting for.

// note writes into the diary.
func (g *game) note(format string, args ...any) {
	what, _, _ := strings.Cut(fmt.Sprintf(format, args...), "\n")
	fmt.Fprintf(&g.diary, "  %6.2f s  %s\n", time.Since(g.began).Seconds(), what)
}

// stuck takes down that something takes too long, and what everybody is at.
func (g *game) stuck(format string, args ...any) {
	g.wrong(format, args...)
	g.examine(look(g.lab, g.before.processes))
}

// examine takes down what processes are at, and how the machine fares.
func (g *game) examine(ps []*process) {
	g.note("evidence is taken")
	fmt.Fprintf(&g.evidence, "  at %.2f s, machine: %s\n", time.Since(g.began).Seconds(), machine())
	held := holders()
	for _, p := range ps {
		fmt.Fprintf(&g.evidence, "  %s\n%s%s", p, indent(p.threads()), indent(p.descriptors(held)))
	}
}

// machine says how busy this machine is, and what it lacks.
func machine() string {
	var b strings.Builder
	for _, file := range []string{"loadavg", "pressure/cpu", "pressure/memory", "pressure/io"} {
		fmt.Fprintf(&b, "%s: %s; ", file, oneLine(read("/proc", file)))
	}
	for line := range strings.Lines(read("/proc/meminfo")) {
		if strings.HasPrefix(line, "MemAvailable:") {
			b.WriteString(oneLine(line))
		}
	}
	return b.String()
}

// threads tells of each thread what it does or waits for: its state, its system call, and where in the kernel it is.
func (p *process) threads() string {
	var b strings.Builder
	fmt.Fprintln(&b, "signals:", signals(read(p.dir, "status")))
	tasks, _ := filepath.Glob(filepath.Join(p.dir, "task/[0-9]*"))
	for _, t := range tasks {
		_, state, _ := strings.Cut(read(t, "stat"), ") ")
		fmt.Fprintf(&b, "thread %s: %.1s, syscall %s, in %s\n", filepath.Base(t), state, oneLine(read(t, "syscall")), strings.ReplaceAll(oneLine(read(t, "stack")), "[<0>] ", ""))
	}
	return b.String()
}

// signals are the lines of /proc/PID/status on signals.
func signals(status string) string {
	var found []string
	for line := range strings.Lines(status) {
		if strings.HasPrefix(line, "Sig") || strings.HasPrefix(line, "ShdPnd") {
			found = append(found, oneLine(line))
		}
	}
	return strings.Join(found, ", ")
}

// descriptors tells what the process has open, and who else has it, where that is a pipe.
func (p *process) descriptors(held map[string][]string) string {
	var b strings.Builder
	fds, _ := filepath.Glob(filepath.Join(p.dir, "fd/[0-9]*"))
	for _, fd := range fds {
		to, _ := os.Readlink(fd)
		fmt.Fprintf(&b, "fd %s: %s %s\n", filepath.Base(fd), to, strings.Join(held[to], ", "))
	}
	return b.String()
}

// holders are the descriptors of pipes, of all processes of this machine.
func holders() map[string][]string {
	held := map[string][]string{}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, "pipe:") {
			f := strings.Split(fd, "/")
			held[to] = append(held[to], fmt.Sprintf("%s of %s %q", f[4], f[2], oneLine(read("/proc", f[2], "cmdline"))))
		}
	}
	return held
}

// dump has programs in Go say what each of their goroutines is at, and end: what is still connected to the standard error
// of pprun says it there.
func dump(ps []*process) {
	for _, p := range ps {
		if !session.is(p) {
			p.signal(unix.SIGABRT)
		}
	}
}

func read(path ...string) string {
	b, _ := os.ReadFile(filepath.Join(path...))
	return string(bytes.ReplaceAll(b, []byte{0}, []byte(" ")))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func indent(lines string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(lines, "\n"), "\n", "\n    ") + "\n"
}
