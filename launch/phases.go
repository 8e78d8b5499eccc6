package launch

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

// plan looks at what is asked before anything is started: places the ranks where that needs no node's answer, leaves out
// the nodes that get none, and has the program built or measured meanwhile.
func (j *job) plan() bool {
	for i, h := range j.Nodes {
		j.nodes = append(j.nodes, &node{index: i, host: h, local: isLocal(h), running: map[int]bool{}})
	}
	if j.known = j.Known(j.capacities()); j.known {
		p, _, err := Map(j.capacities(), j.Request)
		if err != nil {
			j.condemn(&verdict{status: StatusUsage, text: err.Error()})
			return false
		}
		j.keep(p.Used())
	}
	var remote, all []int
	for _, n := range j.nodes {
		all = append(all, n.index)
		if !n.local {
			remote = append(remote, n.index)
		}
	}
	var found target
	switch source := isSource(j.Target); {
	case source && j.NoStage:
		j.fail(failf(StatusUsage, "%s has to be built and copied: leave out --no-stage", j.Target))
	case !source:
		var err error
		if found, err = findTarget(&j.Config); err != nil {
			j.fail(err)
		}
	}
	if j.verdict != nil {
		return false
	}
	c := j.Config
	j.begun.Go(func() {
		p, err := prepare(j.ctx, &c, found, remote, all)
		j.events <- event{what: prepared{p, err}}
	})
	return true
}

// keep leaves only these nodes in the job.
func (j *job) keep(used []int) {
	kept := j.nodes[:0]
	for i, n := range used {
		kept = append(kept, j.nodes[n])
		kept[i].index = i
	}
	j.nodes = kept
}

func (j *job) capacities() []Capacity {
	all := make([]Capacity, len(j.nodes))
	for i, n := range j.nodes {
		all[i] = Capacity{Host: n.host.Host, Slots: n.host.Slots}
		switch {
		case n.local:
			all[i].CPUs = cpus()
		case n.ready != nil:
			all[i].CPUs = n.ready.CPUs
		}
	}
	return all
}

// launch starts an agent on every node.
func (j *job) launch() bool {
	local := Local{}
	if j.inherits() {
		local.Stdin = j.Stdin
	}
	parts := []part{{launcher: local}, {launcher: &SSH{
		AcceptNew: j.AcceptNew, ConfigFile: j.SSHConfig, Timeout: j.StartTimeout,
		Warn: func(text string) { j.events <- event{what: warning(text)} },
	}}}
	hosts := make([]hostfile.Node, len(j.nodes))
	for i, n := range j.nodes {
		hosts[i] = n.host
		k := 1
		if n.local {
			k = 0
		}
		parts[k].nodes = append(parts[k].nodes, i)
	}
	parts = slices.DeleteFunc(parts, func(p part) bool { return len(p.nodes) == 0 })
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
		n.connect(a.conn, j.out, j.events)
		n.sendValue(agent.KindHello, 0, agent.Hello{
			Version: agent.Version, Job: j.id, Node: n.index, Host: n.host.Host, Grace: j.Grace,
		})
	}
}

// greet checks what an agent says of itself.
func (j *job) greet(n *node, r agent.Ready) {
	n.ready = &r
	switch {
	case r.Version != agent.Version:
		n.failed = fmt.Sprintf("its agent (pprun %s) speaks protocol %d, this pprun %d: use one version", r.Release, r.Version, agent.Version)
	case n.local: // it was started from this very executable
	default:
		if own, err := agent.Identity(); err != nil || r.Digest != own {
			n.failed = fmt.Sprintf("its agent is another program than this pprun (%.12s, want %.12s): remove %s there", r.Digest, own, r.Cache)
		}
	}
	if n.failed != "" {
		n.status = StatusFailed
		j.noteFailure()
	}
}

// place gives every rank its node, once the nodes' CPUs are known.
func (j *job) place() bool {
	if !j.all(func(n *node) bool { return n.local || n.ready != nil }) {
		return false
	}
	p, warning, err := Map(j.capacities(), j.Request)
	if err != nil {
		j.condemn(&verdict{status: StatusUsage, text: err.Error()})
		return false
	}
	if j.StdinTo >= p.Size() {
		j.condemn(&verdict{status: StatusUsage, text: fmt.Sprintf("--stdin %d: there are %s, want one below %d", j.StdinTo, count(p.Size(), "rank"), p.Size())})
		return false
	}
	if warning != "" {
		j.warn("%s", warning)
	}
	j.placement, j.running = p, p.Size()
	for rank, n := range p.NodeOf {
		j.nodes[n].ranks = append(j.nodes[n].ranks, rank)
		j.nodes[n].running[rank] = true
	}
	j.dropIdle()
	if j.Label != LabelNone {
		j.out.labels(&p)
	}
	if j.Output != "" {
		if j.out.files, err = openFiles(j.Output, &p, j.wrote, func(err error) { j.outputBroke(j.Output, err) }); err != nil {
			j.condemn(&verdict{status: StatusFailed, text: writeFailure(j.Output, err)})
			return false
		}
	}
	return true
}

// dropIdle dismisses the agents that have turned out to get no rank.
func (j *job) dropIdle() {
	for _, n := range j.nodes {
		if len(n.ranks) == 0 {
			n.send(agent.KindBye, 0)
		}
	}
}

// members are the nodes that have ranks.
func (j *job) members() []*node {
	var all []*node
	for _, n := range j.nodes {
		if len(n.ranks) > 0 {
			all = append(all, n)
		}
	}
	return all
}

// stage brings program and files to the nodes that lack them.
func (j *job) stage() bool {
	if !j.until(func() bool { return j.program != nil }) {
		return false
	}
	for _, n := range j.nodes {
		if len(n.ranks) == 0 {
			j.program.leaveAll(n)
		}
	}
	for _, n := range j.members() {
		goos, arch := ownPlatform()
		if n.ready != nil {
			goos, arch = n.ready.OS, n.ready.Arch
		}
		if j.program.file == "" {
			continue
		}
		if err := j.program.header.check(j.program.name, n.host.Host, goos, arch); err != nil {
			n.failed, n.status = err.Error(), StatusNotExecutable
			j.noteFailure()
		}
	}
	if !j.settle() {
		return false
	}
	expect := map[*node]int{}
	for _, n := range j.members() {
		for id, s := range j.program.spools {
			if id == programID && n.local {
				continue
			}
			expect[n]++
			name := j.program.name
			if id == programID {
				n.size = s.size
			} else {
				name = j.Stage[id-filesID]
			}
			n.sendValue(agent.KindStage, id, agent.Stage{
				Program: id == programID, Name: filepath.Base(name), Digest: s.digest, Size: s.size, Mode: uint32(s.mode),
			})
		}
	}
	return j.all(func(n *node) bool { return n.staged == expect[n] })
}

// stream sends a node the file it wants, in a goroutine of its own: a slow node holds up only itself.
func (j *job) stream(n *node, id uint64) {
	s := j.program.spools[id]
	if s == nil {
		return
	}
	n.work.Go(func() {
		defer s.leave(n.index)
		for more := true; more; {
			var c chunk
			var err error
			if c, more, err = s.next(n.index); err != nil {
				j.events <- event{n, unreadable{err}}
				return
			}
			h := frame.Header{Kind: agent.KindChunk, ID: id}
			if more {
				h.Flags = frame.More
			}
			if n.conn.Send(h, c.data) != nil {
				return // the reader says why
			}
			n.copied.Store(c.upTo)
			j.sent.Add(int64(len(c.data)))
		}
	})
}

// listen opens the hub's port on the node of rank 0 where ranks of other nodes have to reach it.
func (j *job) listen() bool {
	if len(j.members()) < 2 {
		return true
	}
	if !j.all(func(n *node) bool { return n.ready != nil }) {
		return false
	}
	hub := j.nodes[j.placement.NodeOf[0]]
	hub.sendValue(agent.KindListen, 0, agent.Listen{Addresses: j.candidates(hub)})
	if !j.until(func() bool { return hub.listening != nil || hub.failed != "" }) || !j.settle() {
		return false
	}
	var err error
	if j.authority, err = newAuthority(j.id, time.Now()); err != nil {
		j.fail(err)
	}
	return j.verdict == nil
}

// candidates are the addresses at which other nodes may reach the hub's node: the one by which we reached it, or, where
// it is this machine, those by which it reached the others.
func (j *job) candidates(hub *node) []string {
	if !hub.local {
		return []string{hub.ready.Reached}
	}
	var all []string
	for _, n := range j.members() {
		if n.addr == nil {
			continue
		}
		if host, _, err := net.SplitHostPort(n.addr.String()); err == nil && !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

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
	env, missing := environment(j.Env, j.EnvNone)
	for _, name := range missing {
		j.warn("-x %s: is not set here", name)
	}
	for _, n := range j.members() {
		s, err := j.order(n, env)
		if err != nil {
			j.fail(err)
			return false
		}
		n.sendValue(agent.KindStart, 0, s)
	}
	j.stdin.start(j.nodes, &j.placement)
	if !j.all(func(n *node) bool { return n.pids != nil }) {
		return false
	}
	j.attending = true
	j.meter.up(j)
	return true
}

// order is what a node has to know to start its ranks.
func (j *job) order(n *node, env []string) (agent.Start, error) {
	p := &j.placement
	s := agent.Start{
		Program: agent.Program{Path: j.program.path, Name: j.program.name},
		Args:    j.Args, Env: env, NodeEnv: j.EnvNone,
		Dir: j.Dir, DirGiven: j.Dir != "",
		Size: p.Size(), Nodes: p.Hosts, NodeOf: p.NodeOf, Slots: p.Slots,
	}
	if j.program.spools[programID] != nil && !n.local {
		s.Program.Stage, s.Program.Path = programID, ""
	}
	if s.Dir == "" && len(j.Stage) == 0 {
		s.Dir = workDir()
	}
	for _, rank := range n.ranks {
		r := agent.Rank{Rank: rank, LocalRank: p.LocalRank[rank], MaxProcs: p.Slots[rank]}
		if rank == 0 {
			r.MaxProcs++ // for the hub: beside one busy goroutine it would wait 20 ms for a processor
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
	s.ClientCert, err = j.authority.node(n.ready.PublicKey, n.index, n.ranks)
	return s, err
}

// attend sees the ranks through to their end.
func (j *job) attend() {
	j.until(func() bool { return j.running == 0 })
}

// all waits until every node that counts has reached something. When a node fails, the others get a moment to fail too:
// one message names all.
func (j *job) all(reached func(*node) bool) bool {
	j.until(func() bool {
		if !j.failedAt.IsZero() && time.Since(j.failedAt) > time.Second {
			return true
		}
		for _, n := range j.nodes {
			if !n.done && n.failed == "" && !reached(n) && (j.placement.Size() == 0 || len(n.ranks) > 0) {
				return false
			}
		}
		return true
	})
	return j.settle()
}
