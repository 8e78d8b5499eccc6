package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/launch"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

// beSelf is a tasking that launches itself, on servers or hosts: where, names, directory.
func beSelf(args []string) {
	where := comm.Via(launch.Hosts(args[1]), launch.Local(1), launch.Rejoin)
	if args[0] == "servers" {
		where = comm.Via(launch.Servers(args[1]), launch.Local(1), launch.Rejoin, launch.MinServers(1))
	}
	beTasking(where)
	fmt.Fprintln(os.Stderr, "Main has returned")
	os.Exit(1)
}

func selfOnServers(t *testing.T, f *farmed) {
	f.killServer("node2") // which is not needed
	defer f.start("node2")
	j := f.taskingBy(f.pprun, "self", "servers", "node[1-3]*2")
	for rank := range 5 {
		j.busy(t, rank)
	}
	pid := j.busy(t, 3)
	f.killServer("node3")
	j.hears(t, 2)
	f.start("node3")
	j.busy(t, 3, pid)
	j.end(t, 0, `^pprun: node2: .*: the job goes on without it\npprun: lost node3: .*: ranks 3-4 ran there: .* when it is back\n`+
		`(pprun: node3: cannot be used again yet: .*\n)?pprun: node3 is used again: ranks 3-4\n$`)

	j = f.taskingBy(f.pprun, "self", "servers", "node1,node3*1")
	j.busy(t, 1)
	j.cmd.Process.Kill()
	j.cmd.Wait()
	f.gone("head", "node1", "node3")

	changed(t, f.lab, "servers", "node1*1", "node3*1", "node2", `node2: .*connection refused.*`)

	for _, c := range []struct {
		servers string
		status  int
		want    string
	}{
		{"node2", 125, `^pprun: node2: .*connection refused.*\n$`},
		{"node2:x", 64, `^pprun: launch.Servers: "node2:x": want a server as .*\n$`},
	} {
		f.finish(f.Exec("head", f.pprun, "self", "servers", c.servers, "/")).want(t, c.status, c.want)
	}
}

// selfOnHosts is that on hosts that are reached by ssh, of which head is none. They get nothing but the program.
func selfOnHosts(t *testing.T, l lab) {
	if l.Mode() == labtest.Loopback {
		t.Skip("hosts share their processes")
	}
	begin := func(name string) *tasking {
		j := &tasking{dir: filepath.Join(l.Shared(), name)}
		if err := os.Mkdir(j.dir, 0o777); err != nil {
			t.Fatal(err)
		}
		j.start(t, l.Exec("head", l.pprun, "self", "hosts", l.hosts, l.Path(name)))
		for rank := range 9 {
			j.busy(t, rank)
		}
		return j
	}
	mine := func(p labtest.Process) bool {
		return len(p.Args) > 1 && (p.Args[1] == "self" || p.Args[1] == "agent" || p.Args[1] == "guard")
	}
	j := begin("self")
	pid := j.busy(t, 5)
	l.killOn("node3", func(p labtest.Process) bool { return len(p.Args) > 1 && p.Args[1] == "agent" })
	j.busy(t, 5, pid)
	j.end(t, 0, `^pprun: lost node3: its agent is gone.*: ranks 5-6 ran there: .* when it is back\npprun: node3 is used again: ranks 5-6\n$`)

	j = begin("self.killed")
	j.cmd.Process.Kill()
	j.cmd.Wait()
	for _, host := range []string{"head", "node1", "node2", "node3", "node4"} {
		l.WaitGone(host, mine, 10*time.Second)
	}
	one := filepath.Join(l.Shared(), "hosts.one")
	if err := os.WriteFile(one, []byte("node1 slots=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	changed(t, l, "hosts", l.Path("hosts.one"), "node3:1", "nowhere.invalid", `nowhere.invalid: .*`)
	l.finish(l.Exec("head", l.pprun, "self", "hosts", "/no/such", "/")).want(t, 64, `^pprun: launch.Hosts: .*/no/such.*\n$`)
}
