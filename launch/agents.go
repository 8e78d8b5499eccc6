package launch

import (
	"fmt"
	"io"
	"slices"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

// launch starts an agent on every node.
func (j *job) launch() bool {
	j.launchers = j.newLaunchers()
	hosts := make([]hostfile.Node, len(j.nodes))
	var parts []part
	for i, n := range j.nodes {
		hosts[i] = n.host
		launcher := j.launcherOf(n)
		k := slices.IndexFunc(parts, func(p part) bool { return p.launcher == launcher })
		if k < 0 {
			k = len(parts)
			parts = append(parts, part{launcher: launcher})
		}
		parts[k].nodes = append(parts[k].nodes, i)
	}
	if j.SSHCommand != "" {
		<-j.signals.caught // the command need not end with this process, as agents do
	}
	nodes := j.nodes
	j.begun.Go(func() {
		launchAll(j.ctx, parts, hosts, func(i int, conn io.ReadWriteCloser, err error) {
			j.events <- event{nodes[i], arrived{conn, err}}
		})
	})
	// Every host is tried before one's failure counts: the user learns of all of them.
	j.until(func() bool {
		return !slices.ContainsFunc(j.nodes, func(n *node) bool { return !n.up && n.failed == "" })
	})
	j.spare()
	return j.settle()
}

// launchers are those of a job.
type launchers struct{ here, remote, server launcher }

func (j *job) newLaunchers() launchers {
	here := hereLauncher{}
	if j.inherits() {
		here.Stdin = j.Stdin
	}
	if j.direct() {
		here.Stdout = j.Stdout
	}
	var remote launcher = &commandLauncher{Line: j.SSHCommand}
	if j.SSHCommand == "" {
		remote = &sshLauncher{
			AcceptNew: j.AcceptNew, ConfigFile: j.SSHConfig, KeepAlive: j.HeartbeatTimeout / 3,
			Passphrase: j.passphrase,
			Warn:       func(text string) { j.events <- event{what: warning(text)} },
		}
	}
	return launchers{here, remote, &serverLauncher{Keys: j.Keys, AcceptNew: j.AcceptNew}}
}

// launcherOf is the launcher for a node.
func (j *job) launcherOf(n *node) launcher {
	switch {
	case n.local:
		return j.launchers.here
	case n.server:
		return j.launchers.server
	}
	return j.launchers.remote
}

// arrive takes up a node's connection.
func (j *job) arrive(n *node, a arrived) {
	switch {
	case n.late != nil:
		j.arriveLate(n, a)
	case a.err != nil:
		n.failed, n.status = nodeError(n.host.Host, a.err), StatusFailed
		j.noteFailure()
	case j.verdict != nil:
		j.begun.Go(func() { a.conn.Close() })
	default:
		j.hail(n, a.conn)
	}
}

// hail begins the conversation with a node's agent.
func (j *job) hail(n *node, conn io.ReadWriteCloser) {
	n.connect(conn, frame.Interval(j.HeartbeatTimeout), j.out, &j.streams, j.events)
	n.sendValue(agent.KindHello, 0, agent.Hello{
		Version: agent.Version, Job: j.id, Node: n.index, Host: n.host.Host, Grace: j.Grace, Alone: len(j.nodes) == 1 && !j.open,
		Heartbeat: j.HeartbeatTimeout,
	})
}

// greet checks what an agent says of itself.
func (j *job) greet(n *node, r agent.Ready) {
	n.ready = &r
	switch {
	case r.Version != agent.Version:
		n.failed = fmt.Sprintf("its agent (pprun %s) speaks protocol %d, this pprun %d: use one version", r.Release, r.Version, agent.Version)
	case n.local, n.server: // it was started from this very executable, or is none of ours
	default:
		if own, _ := foundAgent(platform{r.OS, r.Arch}); own.agent == nil || r.Digest != own.agent.identity {
			n.failed = fmt.Sprintf("its agent (%.12s) is another program than this pprun for %s/%s, or damaged: remove %s there", r.Digest, r.OS, r.Arch, r.Path)
		}
	}
	if n.failed != "" && n.late == nil {
		n.status = StatusFailed
		j.noteFailure()
	}
}

// warning is what the ssh launcher warns of.
type warning string

// arrived is what a launcher reports of a node.
type arrived struct {
	conn io.ReadWriteCloser
	err  error
}
