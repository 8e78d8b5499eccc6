package hostfile

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A batchSystem says how a job finds out what it was given.
type batchSystem struct {
	name  string
	job   []string                                        // variables that may hold the job's id
	nodes []string                                        // variables that may hold the nodes, best first
	read  func(env environ, name string, p *parser) error // reads the one called name into p
}

// batchSystems in the order in which they are asked. Sources: sbatch(1); qsub(1B) of OpenPBS and Torque;
// submit(1) and sge_pe(5) of Grid Engine; IBM's "Environment variables set for job execution" of LSF.
var batchSystems = []batchSystem{
	{"Slurm", []string{"SLURM_JOB_ID", "SLURM_JOBID"}, []string{"SLURM_JOB_NODELIST", "SLURM_NODELIST"}, readSlurm},
	{"PBS", []string{"PBS_JOBID"}, []string{"PBS_NODEFILE"}, readLines},
	{"Grid Engine", []string{"JOB_ID"}, []string{"PE_HOSTFILE"}, readLines},
	{"LSF", []string{"LSB_JOBID"}, []string{"LSB_DJOB_HOSTFILE", "LSB_MCPU_HOSTS", "LSB_HOSTS"}, readLSF},
}

// Allocation returns the nodes and slots that a batch system gave the job in which this process runs: Slurm, PBS
// (OpenPBS, Torque), Grid Engine or LSF; nil if the environment, which getenv reads, speaks of none. One slot is one
// task of Slurm, one line of a node file, one slot of Grid Engine or LSF. An error names the variable and its value.
func Allocation(getenv func(string) string) (*Hosts, error) {
	env := environ(getenv)
	for _, b := range batchSystems {
		job, id := env.first(b.job...)
		name, list := env.first(b.nodes...)
		if id == "" || list == "" {
			continue
		}
		if !validJob(id) {
			return nil, &Error{File: job, Found: id, Want: "the number of a " + b.name + " job"}
		}
		p := newParser(name)
		p.counted = true
		if err := b.read(env, name, p); err != nil {
			return nil, err
		}
		hosts, err := p.finish()
		if err != nil {
			return nil, err
		}
		hosts.Source, hosts.Warnings = b.name+" job "+id, nil
		return hosts, nil
	}
	return nil, nil
}

// environ looks up variables.
type environ func(string) string

// first returns the first variable that is set, and its value.
func (env environ) first(names ...string) (name, value string) {
	for _, name := range names {
		if value := env(name); value != "" {
			return name, value
		}
	}
	return names[0], ""
}

// validJob accepts 12, 12.head, 12[3].head and their like: an id becomes part of messages, names and commands.
func validJob(id string) bool { return validWord(id, "._-[]") && '0' <= id[0] && id[0] <= '9' }

// readLines reads the file that a variable names.
func readLines(env environ, name string, p *parser) error {
	f, err := os.Open(env(name))
	if err != nil {
		return fmt.Errorf("%s: %w: want the batch system's file of hosts, which is on the first node of the job", name, err)
	}
	defer f.Close()
	p.name = name + " " + f.Name()
	p.file(f)
	return nil
}

// readSlurm reads a node list and the tasks on each node, or else the CPUs over those of one task.
func readSlurm(env environ, name string, p *parser) error {
	hosts, err := Expand(env(name))
	if err != nil {
		return fmt.Errorf("%s=%s: %w", name, printable(env(name)), err)
	}
	if n := env("SLURM_JOB_NUM_NODES"); n != "" && n != strconv.Itoa(len(hosts)) {
		return &Error{File: "SLURM_JOB_NUM_NODES", Found: n, Want: fmt.Sprintf("%d, the number of nodes in %s", len(hosts), name)}
	}
	counts, list := env.first("SLURM_TASKS_PER_NODE", "SLURM_JOB_CPUS_PER_NODE")
	if s := env("SLURM_CPUS_PER_TASK"); s != "" {
		if p.cpus, err = parseNumber(s, maxSlots); err != nil {
			return &Error{File: "SLURM_CPUS_PER_TASK", Found: s, Want: wantSlots}
		}
	}
	perTask := 1
	if counts == "SLURM_JOB_CPUS_PER_NODE" {
		perTask = max(1, p.cpus)
	}
	slots, err := parseCounts(list, len(hosts))
	if err != nil {
		return &Error{File: counts, Found: list, Want: fmt.Sprintf("counts like 2(x3),1 for the %d nodes of %s", len(hosts), name)}
	}
	for i, host := range hosts {
		p.slots(host, max(1, slots[i]/perTask))
	}
	return nil
}

// readLSF reads a file of hosts, or "hostA 4 hostB 2", or "hostA hostA hostB".
func readLSF(env environ, name string, p *parser) error {
	words := strings.Fields(env(name))
	switch name {
	case "LSB_DJOB_HOSTFILE":
		return readLines(env, name, p)
	case "LSB_HOSTS":
		for _, host := range words {
			p.slots(host, 1)
		}
		return nil
	}
	for len(words) > 0 {
		if len(words) == 1 {
			return &Error{File: name, Found: env(name), Want: "each host and its number of slots, like hostA 4 hostB 2"}
		}
		n, err := parseNumber(words[1], maxSlots)
		if err != nil {
			return &Error{File: name, Found: words[0] + " " + words[1], Want: wantSlots + " after each host"}
		}
		p.slots(words[0], n)
		words = words[2:]
	}
	return nil
}

// slots adds one host with its slots.
func (p *parser) slots(host string, n int) {
	if !validHost(host) {
		p.fail(0, host, wantHost)
		return
	}
	p.add(token{text: host}, mention{Node: Node{Host: host, Slots: n, Pos: p.name}})
}
