package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// process is one of a host.
type process struct {
	labtest.Process
	host   string
	dir    string   // in /proc, as this machine sees it
	parent *process // nil: none, or it was there before the job
	rank   int      // that it is, started by an agent; -1: none
}

func (p *process) String() string { return p.host + ": " + p.Process.String() }

// scene is what a lab looks like at a moment: all processes but those that were there before the job.
type scene struct {
	processes []*process
	ranks     int // of the job
}

// idle is what the first process of a host waits for.
var idle = []string{"sleep", "2147483647"}

// look takes in a lab.
func look(lab *labtest.Lab, before map[string]bool) []*process {
	var all []*process
	for _, host := range hosts() {
		ps := lab.Processes(host)
		byPid := map[int]*process{}
		for _, p := range ps {
			q := &process{Process: p, host: host, rank: -1, dir: filepath.Join(lab.Root(host), "proc", strconv.Itoa(p.Pid))}
			if !before[q.key()] && !slices.Equal(p.Args, idle) {
				byPid[p.Pid] = q
				all = append(all, q)
			}
		}
		for _, q := range byPid {
			if q.parent = byPid[q.PPid]; q.parent != nil && agentProc.is(q.parent) && !guard.is(q) {
				q.rank = rankOf(q.dir)
			}
		}
	}
	return all
}

// key tells processes of a lab apart.
func (p *process) key() string { return fmt.Sprintf("%s %d", p.host, p.Pid) }

func hosts() []string {
	hs := []string{"head"}
	for i := range nodes {
		hs = append(hs, fmt.Sprintf("node%d", i+1))
	}
	return hs
}

func rankOf(dir string) int {
	env, _ := os.ReadFile(filepath.Join(dir, "environ"))
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if text, ok := bytes.CutPrefix(v, []byte("PPRUN_RANK=")); ok {
			if n, err := strconv.Atoi(string(text)); err == nil {
				return n
			}
		}
	}
	return -1
}

// all returns the processes in a role.
func (s *scene) all(v victim) (found []*process) {
	for _, p := range s.processes {
		if p.State != 'Z' && v.is(p) {
			found = append(found, p)
		}
	}
	return found
}

func (s *scene) any(v victim) bool { return len(s.all(v)) > 0 }

func (s *scene) count(v victim) int { return len(s.all(v)) }

// tree draws the processes, children below their parents.
func (s *scene) tree() string {
	var b strings.Builder
	var draw func(p *process, depth int)
	draw = func(p *process, depth int) {
		fmt.Fprintf(&b, "  %s%s\n", strings.Repeat("  ", depth), p)
		for _, q := range s.processes {
			if q.parent == p {
				draw(q, depth+1)
			}
		}
	}
	for _, p := range s.processes {
		if p.parent == nil {
			draw(p, 0)
		}
	}
	return b.String()
}
