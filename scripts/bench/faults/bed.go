package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/pprun/pprun/scripts/bench/bench"
)

const (
	hosts = 4
	ranks = 2 * hosts
	limit = 90 * time.Second // for whatever is waited for
)

// bed is where jobs are run and hurt.
type bed struct {
	lab            *bench.Lab
	pprun, program string // as hosts know them
}

// times of one fault.
type measured struct {
	told, ended, clean time.Duration
	line               string
}

// measure runs a job, hurts it, and says what came of it when.
func (b *bed) measure(f fault) (m measured, err error) {
	if f.prepare != nil {
		if err := f.prepare(b); err != nil {
			return m, err
		}
	}
	j, err := b.start(f)
	if err != nil {
		return m, err
	}
	defer j.stop()
	at, err := j.harm(f)
	if err != nil {
		return m, err
	}
	if f.goesOn {
		if err := j.until("word of the loss", func() bool { return j.word() != "" }); err != nil {
			return m, err
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		return measured{told: j.at.Sub(at), line: j.line}, nil
	}
	select {
	case <-j.ended:
	case <-time.After(limit):
		return m, errors.New("it does not end")
	}
	if err := j.until("end of all processes", func() bool { return len(j.processes()) == 0 }); err != nil {
		return m, err
	}
	clean := time.Since(at)
	if f.restore != nil {
		err = f.restore(b)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.line != "" {
		m.told, m.line = j.at.Sub(at), j.line
	}
	m.ended, m.clean = j.endedAt.Sub(at), clean
	if got := j.cmd.ProcessState.ExitCode(); got != f.status && f.status != anyStatus {
		err = fmt.Errorf("exit status %d, want %d: %s", got, f.status, j.line)
	}
	return m, err
}

// start starts the job of a fault.
func (b *bed) start(f fault) (*job, error) {
	mark := "FAULT=" + strconv.FormatInt(time.Now().UnixNano(), 36)
	j := &job{bed: b, mark: []byte(mark + "\x00"), began: make(chan struct{}), ended: make(chan struct{})}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	words, stderr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	j.stdout = out
	argv := []string{"env", mark, b.pprun, "--host", "node[1-4]:2"}
	argv = append(argv, f.flags...)
	if j.cmd, err = b.lab.Start(stdout, stderr, append(argv, b.program, "rank", f.verb)...); err != nil {
		return nil, err
	}
	go j.listen(words)
	go j.count(out)
	go func() {
		j.cmd.Wait()
		j.mu.Lock()
		j.endedAt = time.Now()
		j.mu.Unlock()
		close(j.ended)
	}()
	return j, nil
}
