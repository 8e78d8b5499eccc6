package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// groups makes a control group for each client, all of the same weight, below the server's own: busy clients get equal
// shares of the CPUs, however many processes each has (cgroups(7)). Either version of them will do.
type groups struct {
	parents []groupDir // empty: this server may make none
	n       atomic.Int64
}

// groupDir is where the groups of some controllers are made.
type groupDir struct {
	path        string
	controllers []string
}

// controllers are those that clients' groups are to have, if they can be had; the first must be.
var controllers = []string{"cpu", "memory", "pids"}

const groupPrefix = "ppserver-"

// findGroups finds out whether this server may make groups. root is /sys/fs/cgroup, own is /proc/self/cgroup.
func findGroups(root string, own []byte) (*groups, error) {
	g := &groups{}
	for line := range strings.Lines(string(own)) { // number:controllers:path
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) < 3:
		case f[1] == "": // version 2
			dir := filepath.Join(root, f[2])
			if _, err := os.Stat(filepath.Join(dir, "cgroup.subtree_control")); err != nil {
				continue // all its controllers are of version 1
			}
			shared, err := delegate(dir)
			if err != nil {
				return nil, err
			}
			g.parents = append(g.parents, groupDir{dir, shared})
		default:
			for _, c := range wanted(strings.Split(f[1], ",")) {
				g.parents = append(g.parents, groupDir{filepath.Join(root, c, f[2]), []string{c}})
			}
		}
	}
	if !g.have("cpu") {
		return nil, errors.New("none with a share of the CPUs")
	}
	g.sweep()
	probe, err := g.make(quotas{})
	if err != nil {
		return nil, err
	}
	probe.remove()
	return g, nil
}

// wanted are those of the controllers that are of use here.
func wanted(all []string) []string {
	return slices.DeleteFunc(all, func(c string) bool { return !slices.Contains(controllers, c) })
}

// have says whether clients' groups have a controller.
func (g *groups) have(controller string) bool {
	return g != nil && slices.ContainsFunc(g.parents, func(p groupDir) bool { return slices.Contains(p.controllers, controller) })
}

// delegate has the groups below dir share its controllers, and returns these. A group that does so may hold no process
// itself, so the server moves into one of its own.
func delegate(dir string) (shared []string, err error) {
	all, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, err
	}
	own := filepath.Join(dir, "server")
	if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := put(own, "cgroup.procs", os.Getpid()); err != nil {
		return nil, err
	}
	shared = wanted(strings.Fields(string(all)))
	if err = put(dir, "cgroup.subtree_control", "+"+strings.Join(shared, " +")); err != nil {
		put(dir, "cgroup.procs", os.Getpid())
		os.Remove(own)
	}
	return shared, err
}

func put(dir, file string, value any) error {
	return os.WriteFile(filepath.Join(dir, file), []byte(fmt.Sprint(value)), 0o644)
}

// sweep removes the groups of servers that were killed.
func (g *groups) sweep() {
	for _, p := range g.parents {
		old, _ := filepath.Glob(filepath.Join(p.path, groupPrefix+"*"))
		for _, dir := range old {
			server, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupPrefix), "-")
			if pid, err := strconv.Atoi(server); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
				os.Remove(dir) // fails where there is a process
			}
		}
	}
}

// group is that of one client.
type group []string // directories

// make makes one with the limits of a client.
func (g *groups) make(q quotas) (group, error) {
	var made group
	name := fmt.Sprintf("%s%d-%d", groupPrefix, os.Getpid(), g.n.Add(1))
	for _, p := range g.parents {
		dir := filepath.Join(p.path, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			made.remove()
			return nil, err
		}
		made = append(made, dir)
		for _, c := range p.controllers {
			if err := limit(dir, c, q); err != nil {
				made.remove()
				return nil, err
			}
		}
	}
	return made, nil
}

func limit(dir, controller string, q quotas) error {
	switch {
	case controller == "pids" && q.Processes > 0:
		return put(dir, "pids.max", q.Processes)
	case controller == "memory" && q.memory > 0:
		err := put(dir, "memory.max", q.memory)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // version 1
			err = put(dir, "memory.limit_in_bytes", q.memory)
		}
		return err
	}
	return nil
}

// add takes a process in, and with it all that it will start.
func (g group) add(pid int) error {
	for _, dir := range g {
		if err := put(dir, "cgroup.procs", pid); err != nil {
			return err
		}
	}
	return nil
}

// remove ends what is left in a group, and removes it.
func (g group) remove() {
	for wait := time.Millisecond; len(g) > 0 && wait < 2*time.Second; wait *= 2 {
		procs, _ := os.ReadFile(filepath.Join(g[0], "cgroup.procs"))
		for pid := range strings.FieldsSeq(string(procs)) {
			if n, err := strconv.Atoi(pid); err == nil && n > 1 {
				syscall.Kill(n, syscall.SIGKILL)
			}
		}
		var left group
		for _, dir := range g {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				left = append(left, dir)
			}
		}
		if g = left; len(g) > 0 {
			time.Sleep(wait)
		}
	}
}
