package launch

import (
	"os"
	"slices"
	"time"

	"github.com/pprun/pprun/launch/agent"
)

// start starts the ranks: from here on user code runs.
func (j *job) start() bool {
	if j.forwards() {
		var err error
		if j.stdin, err = openInput(j.Stdin, j.stdinRanks()); err != nil {
			j.fail(err)
			return false
		}
	}
	j.starting = true
	j.streams.open(j.nodes)
	j.meter.clear() // the terminal is the ranks' now
	var missing []string
	j.env, missing = environment(j.Env, j.EnvNone)
	for _, name := range missing {
		j.warn("-x %s: is not set here", name)
	}
	members := j.members()
	held := len(members) > 1
	for _, n := range members {
		s, err := j.order(n, j.env)
		if err != nil {
			j.fail(err)
			return false
		}
		s.Held = held
		n.sendValue(agent.KindStart, 0, s)
	}
	j.stdin.start(j.nodes, &j.placement)
	if held && !j.allAble() || !j.all(func(n *node) bool { return n.pids != nil }) {
		return false
	}
	j.attending = true
	j.meter.up(j)
	return true
}

// allAble has all nodes start their ranks once each of them can: else some would run where others find no program.
func (j *job) allAble() bool {
	if !j.all(func(n *node) bool { return n.able || n.pids != nil }) {
		return false
	}
	for _, n := range j.nodes {
		if n.able && !n.gone {
			n.send(agent.KindGo, 0)
		}
	}
	return true
}

// order is what a node has to know to start its ranks.
func (j *job) order(n *node, env []string) (agent.Start, error) {
	p := &j.placement
	s := agent.Start{
		Program: agent.Program{Path: n.program.path, Name: j.program.name},
		Args:    j.Args, Env: env, NodeEnv: j.EnvNone && !n.local, // here it is the caller's own
		Dir: j.Dir, DirGiven: j.Dir != "",
		Size: p.Size(), Nodes: p.Hosts, NodeOf: p.NodeOf, Slots: p.Slots,
	}
	s.Direct = j.direct()
	switch {
	case j.isAgent(n):
		s.Program.Self, s.Program.Path = true, ""
	case j.copies(n)[programID] != nil:
		s.Program.Stage, s.Program.Path = programID, ""
	}
	if s.Dir == "" && len(j.Stage) == 0 {
		s.Dir = workDir()
	}
	for _, rank := range n.ranks {
		r := agent.Rank{Rank: rank, LocalRank: p.LocalRank[rank], MaxProcs: p.Slots[rank], Incarnation: j.lives[rank].incarnation}
		if rank == 0 {
			r.MaxProcs++ // for the hub: beside one busy goroutine it would wait 20 ms for a processor
			if j.attached {
				r.PID = os.Getpid()
			}
		}
		switch {
		case j.inherits() && rank == j.StdinTo:
			r.Stdin = agent.StdinInherit
		case j.stdin != nil && slices.Contains(j.stdinRanks(), rank):
			r.Stdin = agent.StdinForward
		}
		s.Ranks = append(s.Ranks, r)
	}
	if j.authority == nil {
		return s, nil
	}
	hub := j.nodes[p.NodeOf[0]]
	s.Hub, s.CA, s.Time = hub.listening.Addresses, j.authority.cert.Raw, j.authority.now.Unix()
	var err error
	if n == hub {
		if s.HubCert, err = j.authority.hub(hub.listening.PublicKey); err != nil {
			return s, err
		}
	}
	s.Trunk = n.trunk
	s.ClientCert, err = j.authority.node(n.ready.PublicKey, n.index, n.ranks)
	return s, err
}

// started takes in that the ranks of a node run.
func (j *job) started(n *node, s agent.Started) {
	n.pids, n.socket = s.PIDs, s.Socket
	for i := range min(len(n.ranks), len(s.PIDs)) {
		j.born(n, n.ranks[i], s.PIDs[i])
	}
	if n.late != nil {
		j.come(n)
	}
	if n.local { // its ranks may use up the processes of their user; what is over by then has not
		time.AfterFunc(readyAfterStart, agent.ReadyThreads)
	}
}

const readyAfterStart = 10 * time.Millisecond

// attend sees the ranks through to their end.
func (j *job) attend() {
	j.until(func() bool { return j.running == 0 })
}

// workDir is the caller's working directory, empty when it has none.
func workDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
}
