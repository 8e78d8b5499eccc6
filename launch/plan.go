package launch

import (
	"os"
	"runtime"
)

// plan looks at what is asked before anything is started: places the ranks where that needs no node's answer, leaves out
// the nodes that get none, and has the program built or measured meanwhile.
func (j *job) plan() bool {
	if j.Report != "" {
		if err := checkReport(j.Report); err != nil {
			j.Report = "" // for it cannot be written
			j.fail(err)
			return false
		}
	}
	if err := j.discover(); err != nil {
		j.fail(err)
		return false
	}
	for i, h := range j.Nodes {
		j.nodes = append(j.nodes, &node{index: i, host: h, local: isLocal(h), running: map[int]bool{}})
	}
	for _, h := range j.Servers {
		j.nodes = append(j.nodes, &node{index: len(j.nodes), host: h, server: true, running: map[int]bool{}})
	}
	if j.known = j.certain(j.capacities()); j.known {
		p, _, err := mapRanks(j.capacities(), j.Request)
		if err != nil {
			j.condemn(&verdict{status: StatusUsage, text: err.Error()})
			return false
		}
		j.keep(p.used())
	}
	remote, all := j.copied(j.nodes), make([]int, len(j.nodes))
	for i := range all {
		all[i] = i
	}
	var found target
	switch source := isSource(j.Target); {
	case source && j.NoStage:
		j.fail(failf(StatusUsage, "%s has to be built and copied: leave out --no-stage", j.Target))
	case source:
		j.building = "building " + j.Target
	default:
		var err error
		if found, err = findTarget(&j.Config); err != nil {
			j.fail(err)
		}
		if j.attached {
			found.name = os.Args[0]
		}
	}
	if err := j.checkBin(); err != nil {
		j.fail(err)
	}
	if j.verdict != nil {
		return false
	}
	c := j.Config
	j.begun.Go(func() {
		<-j.signals.caught // what is built must not stay
		p, err := prepare(j.ctx, &c, found, remote, all)
		j.events <- event{what: prepared{p, err}}
	})
	return true
}

// checkBin looks at the files that are given for other platforms.
func (j *job) checkBin() error {
	if len(j.Bin) > 0 && (j.NoStage || isBare(j.Target) && !isSource(j.Target)) {
		return failf(StatusUsage, "--bin: %s is not copied to the nodes: leave out --bin, or name the program by a path", j.Target)
	}
	for name, file := range j.Bin {
		p, err := parsePlatform(name)
		if err != nil {
			return failf(StatusUsage, "--bin %v", err)
		}
		if _, err := findBin(p, file); err != nil {
			return err
		}
	}
	return nil
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

func (j *job) capacities() []capacity {
	all := make([]capacity, len(j.nodes))
	for i, n := range j.nodes {
		all[i] = capacity{Host: n.host.Host, Slots: n.host.Slots}
		switch {
		case n.missing || n.twin != nil:
			all[i].Slots = -1
		case (len(j.Servers) > 0 || j.attached && n.local) && n.host.Slots > 0: // all that the user wants of it
			all[i].CPUs = n.host.Slots
		case n.local:
			all[i].CPUs = cpus()
		case n.ready != nil:
			all[i].CPUs = n.ready.CPUs
		}
	}
	return all
}

// prepared is what prepare made.
type prepared struct {
	program *program
	err     error
}

// cpus of this machine that pprun may use: affinity and cgroup limits count.
func cpus() int { return runtime.GOMAXPROCS(0) }
