package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A peer is a process, with others below it, that calls no-op functions when asked to.
type peer struct {
	name    string
	command []string
	env     []string
	needs   string // Python module,
	from    string // and how to get it
	few     int    // calls one after the other
	many    int    // calls at once
	chunks  int    // calls in chunks

	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	errs    bytes.Buffer
	samples map[string][]sample // by way
}

// A sample is what one round of one way gave.
type sample struct{ rate, median, p99, cpu float64 }

var errNone = errors.New("-") // the peer does not have this way

func (p *peer) calls(name string) int {
	switch name {
	case single:
		return p.few
	case chunked:
		return p.chunks
	}
	return p.many
}

// mark is in the environment of every process of the peer, wherever it runs.
func (p *peer) mark() string { return fmt.Sprintf("BENCH_PEER=%s.%d", p.name, os.Getpid()) }

func (p *peer) start() error {
	p.cmd = exec.Command(p.command[0], p.command[1:]...)
	p.cmd.Env = append(append(os.Environ(), p.env...), p.mark())
	p.cmd.Stderr = &p.errs
	p.samples = make(map[string][]sample)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.out = bufio.NewReader(out)
	for line := ""; line != "ready\n"; {
		if line, err = p.line(); err != nil {
			return err
		}
	}
	return nil
}

// line returns the next line of output. A peer that is silent for a minute is killed.
func (p *peer) line() (string, error) {
	timer := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.in.Close()
		return "", fmt.Errorf("%w: %w: %s", err, p.cmd.Wait(), lastLine(p.errs.Bytes()))
	}
	return line, nil
}

// stop lets a peer end by the end of its input.
func (p *peer) stop() {
	if p.in == nil {
		return
	}
	p.in.Close()
	timer := time.AfterFunc(10*time.Second, func() { p.cmd.Process.Kill() })
	defer timer.Stop()
	p.cmd.Wait()
}

// measure asks for calls of one way and returns how many a second there were.
func (p *peer) measure(name string) (float64, error) {
	n := p.calls(name)
	before := p.cpu()
	if _, err := fmt.Fprintln(p.in, name, n); err != nil {
		return 0, err
	}
	line, err := p.line()
	if err != nil {
		return 0, err
	}
	var took float64
	var s sample
	switch words := len(strings.Fields(line)); {
	case line == "none\n":
		return 0, errNone
	case words == 3:
		_, err = fmt.Sscan(line, &took, &s.median, &s.p99)
	default:
		_, err = fmt.Sscan(line, &took)
	}
	if err != nil {
		return 0, fmt.Errorf("it says %q", line)
	}
	s.rate = float64(n) / took
	s.cpu = (p.cpu() - before) / float64(n)
	p.samples[name] = append(p.samples[name], s)
	return s.rate, nil
}

// cpu returns the seconds of processor time that the peer's processes have used.
func (p *peer) cpu() (seconds float64) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		if environ, err := os.ReadFile(path); err == nil && bytes.Contains(environ, []byte(p.mark())) {
			seconds += processorTime(filepath.Dir(path))
		}
	}
	return seconds
}

// processorTime returns what stat in a directory of /proc says, 0 if the process is gone. Linux counts 100 ticks a second.
func processorTime(dir string) (seconds float64) {
	stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
	_, rest, _ := strings.Cut(string(stat), ") ") // after the command's name
	if fields := strings.Fields(rest); len(fields) > 12 {
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		seconds = float64(user+system) / 100
	}
	return seconds
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}
