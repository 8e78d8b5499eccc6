package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// group is a control group of the job's ranks on this node (cgroups(7), version 2), where the agent may make one: as root,
// or where it has one delegated. Whatever comes of a rank is in it, though it have a session and an environment of its own.
// A nil group is none.
type group struct {
	path string
	dir  *os.File
}

// newGroup makes the group.
func newGroup(job string, node int) *group {
	path := groupPath(job, node)
	if path == "" || os.Mkdir(path, 0o755) != nil {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		os.Remove(path)
		return nil
	}
	return &group{path, dir}
}

// groupPath is where the group is or would be, below that of this process; empty where there is no version 2.
func groupPath(job string, node int) string {
	own, _ := os.ReadFile("/proc/self/cgroup")
	for line := range bytes.Lines(own) {
		within, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("0::"))
		if !ok {
			continue
		}
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			parent := filepath.Join(mount, string(within))
			if _, err := os.Stat(filepath.Join(parent, "cgroup.subtree_control")); err == nil {
				return filepath.Join(parent, dirPrefix+job+"-"+strconv.Itoa(node))
			}
		}
	}
	return ""
}

// member makes a process one of the group from its birth.
func (g *group) member(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	if g != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(g.dir.Fd())
	}
	return attr
}

// kill kills all members.
func (g *group) kill() {
	if g != nil {
		killGroup(g.path)
	}
}

// killGroup kills the members of a group, those too that are being born.
func killGroup(path string) {
	if os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	members, _ := os.ReadFile(filepath.Join(path, "cgroup.procs")) // before Linux 5.14 one after the other
	for _, m := range bytes.Fields(members) {
		if pid, err := strconv.Atoi(string(m)); err == nil && pid > 1 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// remove removes the group, whose members have ended.
func (g *group) remove() {
	if g != nil {
		g.dir.Close()
		removeGroup(g.path)
	}
}

// removeGroup removes a group. The kernel may need a moment for the last member's end.
func removeGroup(path string) {
	for wait := time.Millisecond; wait < time.Second; wait *= 2 {
		if err := os.Remove(path); err == nil || os.IsNotExist(err) {
			return
		}
		killGroup(path)
		time.Sleep(wait)
	}
}
