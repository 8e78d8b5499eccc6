package main

import (
	"strings"
	"testing"
)

// planted has nobody plant, on the node of alice's job, what he can at every place where a job makes or trusts something
// (strace -e trace=file shows them): directories, links and programs in place of the caches in directories for all, and in
// her own cache, which she has left open to all. Nothing of it is executed or changed, and what she has is not either.
func planted(t *testing.T, l lab) {
	const plant = `set -e; uid=$1 agent=$2
evil() { printf '#!/bin/sh\necho executed >>/tmp/executed\n' >"$1"; chmod 755 "$1"; }
evil /home/alice/.cache/pprun/$agent
mkdir -m 777 /var/tmp/pprun-$uid; evil /var/tmp/pprun-$uid/$agent
ln -s /home/alice/work /tmp/pprun-$uid
evil /dev/shm/pprun-$uid`
	l.Output("node1", "rm", "-rf", "/home/alice/.cache", "/tmp/executed")
	uid := l.Output("node1", "id", "-u", "alice")
	run := func() result {
		return l.finish(l.ExecUser("head", "alice", l.pprun, "--host", "node1:1", "--report", "/tmp/report.json", "sh", "-c", "echo ran"))
	}
	if r := run(); r.stdout != "ran\n" { // a sound cache, from which the agent's name is known
		t.Fatalf("%+v", r)
	}
	agent := l.Output("node1", "sh", "-c", "cd /home/alice/.cache/pprun && ls")
	l.Output("node1", "sh", "-c", "rm -r /home/alice/.cache/pprun/*; chmod 755 /home/alice; chmod 777 /home/alice/.cache /home/alice/.cache/pprun; mkdir -m 777 /home/alice/work; echo precious >/home/alice/work/victim; chown -R alice: /home/alice/work")
	l.Output("node1", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", plant, "sh", uid, agent)
	before := l.Output("node1", "ls", "-lR", "/home/alice/work")
	for _, c := range []struct {
		name, mend, stderr string
		status             int
	}{
		{"all", "true", `^pprun: node1: no directory to keep the agent in \(/home/alice/.cache/pprun: cannot be made, or others may write there or above it, /var/tmp/pprun-.*, /tmp/pprun-.*, /dev/shm/pprun-.*\): set PPRUN_CACHE there\n$`, 125},
		{"another cache can be made", "rm -r /var/tmp/pprun-" + uid, "^$", 0},
		{"her cache is hers again, with what was planted in it", "chmod 700 /home/alice/.cache /home/alice/.cache/pprun; rm -r /var/tmp/pprun-" + uid, "^$", 0},
	} {
		l.Output("node1", "sh", "-c", c.mend)
		r := run()
		if r.want(t, c.status, c.stderr); (r.stdout == "ran\n") != (c.status == 0) {
			t.Errorf("%s: printed %q", c.name, r.stdout)
		}
	}
	if after := l.Output("node1", "ls", "-lR", "/home/alice/work"); after != before {
		t.Errorf("the victim's directory was\n%s\nand is\n%s", before, after)
	}
	if got := l.Output("node1", "sh", "-c", "cat /home/alice/work/victim; ls /tmp/executed 2>&1 || true"); !strings.HasPrefix(got, "precious\n") || !strings.Contains(got, "No such file") {
		t.Errorf("on the node: %s", got)
	}

	// What stands in place of the report and the output, on her own machine.
	l.Output("head", "sh", "-c", "rm -f /tmp/report.json; echo precious >/home/alice/victim; chown alice: /home/alice/victim")
	l.Output("head", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c",
		"ln -s /home/alice/victim /tmp/report.json; ln -s /home/alice/victim /tmp/out.0; mkfifo -m 666 /tmp/pipe.0")
	run().want(t, 64, `^pprun: --report /tmp/report.json: belongs to uid 65534, and others may write in its directory: choose another name\n$`)
	for _, name := range []string{"out", "pipe"} {
		r := l.finish(l.ExecUser("head", "alice", l.pprun, "-o", "/tmp/"+name+".%r", "-n", "1", "true"))
		r.want(t, 125, `^pprun: cannot write /tmp/`+name+`.0: `)
	}
	if got := l.Output("head", "cat", "/home/alice/victim"); got != "precious" {
		t.Errorf("the victim holds %q", got)
	}
}
