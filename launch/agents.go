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
	here := Here{}
	if j.inherits() {
		here.Stdin = j.Stdin
	}
	if j.direct() {
		here.Stdout = j.Stdout
	}
	var remote Launcher = &Command{Line: j.SSHCommand}
	if j.SSHCommand == "" {
		remote = &SSH{
			AcceptNew: j.AcceptNew, ConfigFile: j.SSHConfig, KeepAlive: j.HeartbeatTimeout / 3,
			Passphrase: j.passphrase,
			Warn:       func(text string) { j.events <- event{what: warning(text)} },
		}
	}
	parts := []part{{launcher: here}, {launcher: remote}, {launcher: &Server{Keys: j.Keys, AcceptNew: j.AcceptNew}}}
	hosts := make([]hostfile.Node, len(j.nodes))
	for i, n := range j.nodes {
		hosts[i] = n.host
		k := 1
		switch {
		case n.local:
			k = 0
		case n.server:
			k = 2
		}
		parts[k].nodes = append(parts[k].nodes, i)
	}
	parts = slices.DeleteFunc(parts, func(p part) bool { return len(p.nodes) == 0 })
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

// arrive takes up a node's connection.
func (j *job) arrive(n *node, a arrived) {
	switch {
	case a.err != nil:
		n.failed, n.status = nodeError(n.host.Host, a.err), StatusFailed
		j.noteFailure()
	case j.verdict != nil:
		a.conn.Close()
	default:
		n.connect(a.conn, frame.Interval(j.HeartbeatTimeout), j.out, &j.streams, j.events)
		n.sendValue(agent.KindHello, 0, agent.Hello{
			Version: agent.Version, Job: j.id, Node: n.index, Host: n.host.Host, Grace: j.Grace, Alone: len(j.nodes) == 1 && !j.open,
			Heartbeat: j.HeartbeatTimeout,
		})
	}
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
			n.failed = fmt.Sprintf("its agent (%.12s) is another program than this pprun for %s/%s: remove %s there", r.Digest, r.OS, r.Arch, r.Cache)
		}
	}
	if n.failed != "" {
		n.status = StatusFailed
		j.noteFailure()
	}
}

// arrived is what a launcher reports of a node.
type arrived struct {
	conn io.ReadWriteCloser
	err  error
}
