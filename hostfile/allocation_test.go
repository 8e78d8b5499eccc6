package hostfile

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

func lookup(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// summary is what an allocation comes to: source: host:slots ...
func summary(h *Hosts, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case h == nil:
		return "none"
	}
	var b strings.Builder
	b.WriteString(h.Source + ":")
	for _, n := range h.Nodes {
		fmt.Fprintf(&b, " %s:%d", n.Host, n.Slots)
	}
	if h.CPUs > 0 {
		fmt.Fprintf(&b, ", %d CPUs each", h.CPUs)
	}
	return b.String()
}

func TestCapturedAllocations(t *testing.T) {
	want := map[string]string{
		"sbatch -N2":                     "Slurm job 2: node1:1 node2:1",
		"sbatch -N2 -n4":                 "Slurm job 3: node1:3 node2:1",
		"sbatch -N2 --ntasks-per-node=2": "Slurm job 4: node1:2 node2:2",
		"sbatch -N4 -n6 -c2":             "Slurm job 5: node1:2 node2:2 node3:1 node4:1, 2 CPUs each",
		"sbatch -n5 -N4":                 "Slurm job 6: node1:2 node2:1 node3:1 node4:1",
		"sbatch -n3":                     "Slurm job 7: node1:3",
		"sbatch -N2 -w node1,node3 --gpus-per-node=0": "Slurm job 9: node1:1 node3:1",
		"sbatch --array=3,7%1 -N1":                    "Slurm job 10: node1:1",
		"salloc -N2 -n4":                              "Slurm job 12: node1:3 node2:1",
		"sbatch --export=NONE":                        "Slurm job 15: node1:1",
		"qsub -pe mpi 4":                              "Grid Engine job 1: node1.tb:1 node4.tb:1 node2.tb:1 node3.tb:1",
		"qsub -pe mpifill 6":                          "Grid Engine job 2: node1.tb:4 node4.tb:2",
		"qsub -pe mpi2 4":                             "Grid Engine job 3: node2.tb:2 node3.tb:2",
		"qsub -pe mpi 2-3":                            "Grid Engine job 4: node4.tb:1 node1.tb:1 node2.tb:1",
	}
	captured, err := txtar.ParseFile("testdata/captured.txtar")
	if err != nil {
		t.Fatal(err)
	}
	jobs := make(map[string]map[string]string)
	for _, f := range captured.Files {
		if title, ok := strings.CutSuffix(f.Name, ": PE_HOSTFILE"); ok {
			path := filepath.Join(t.TempDir(), "pe_hostfile")
			if err := os.WriteFile(path, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			jobs[title]["PE_HOSTFILE"] = path
			continue
		}
		vars := make(map[string]string)
		for line := range strings.Lines(string(f.Data)) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			vars[name] = value
		}
		jobs[f.Name] = vars
	}
	if len(jobs) != len(want) {
		t.Errorf("%d jobs, want %d", len(jobs), len(want))
	}
	for title, vars := range jobs {
		if got := summary(Allocation(lookup(vars))); got != want[title] {
			t.Errorf("%s: got %s\nwant %s", title, got, want[title])
		}
	}
}

func TestAllocation(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lines := file("lines", "node1\nnode1\nnode2\nnode3\n")
	one := file("one", "node1\nnode2\n")
	bad := file("bad", "node1\n$(id)\n")
	empty := file("empty", "\n")
	slurm := map[string]string{"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-3]"}
	with := func(base map[string]string, pairs ...string) map[string]string {
		vars := maps.Clone(base)
		for i := 0; i < len(pairs); i += 2 {
			vars[pairs[i]] = pairs[i+1]
		}
		return vars
	}
	lsf := map[string]string{"LSB_JOBID": "12"}
	for name, test := range map[string]struct {
		env  map[string]string
		want string
	}{
		"nothing":       {nil, "none"},
		"JOB_ID alone":  {map[string]string{"JOB_ID": "x", "PBS_JOBID": "1", "SLURM_JOB_ID": "2"}, "none"},
		"old names":     {map[string]string{"SLURM_JOBID": "7", "SLURM_NODELIST": "a", "SLURM_TASKS_PER_NODE": "2"}, "Slurm job 7: a:2"},
		"repetitions":   {with(slurm, "SLURM_TASKS_PER_NODE", "2(x2),1"), "Slurm job 7: n1:2 n2:2 n3:1"},
		"more than all": {with(slurm, "SLURM_TASKS_PER_NODE", "4(x1000000000),9"), "Slurm job 7: n1:4 n2:4 n3:4"},
		"CPUs":          {with(slurm, "SLURM_JOB_CPUS_PER_NODE", "72(x2),36"), "Slurm job 7: n1:72 n2:72 n3:36"},
		"CPUs per task": {with(slurm, "SLURM_JOB_CPUS_PER_NODE", "72(x2),3", "SLURM_CPUS_PER_TASK", "4"), "Slurm job 7: n1:18 n2:18 n3:1, 4 CPUs each"},
		"tasks first":   {with(slurm, "SLURM_TASKS_PER_NODE", "2(x3)", "SLURM_JOB_CPUS_PER_NODE", "4(x3)", "SLURM_CPUS_PER_TASK", "2"), "Slurm job 7: n1:2 n2:2 n3:2, 2 CPUs each"},
		"fewer":         {with(slurm, "SLURM_TASKS_PER_NODE", "2(x2)"), "SLURM_TASKS_PER_NODE: found 2(x2): want counts like 2(x3),1 for the 3 nodes of SLURM_JOB_NODELIST"},
		"no counts":     {slurm, `SLURM_TASKS_PER_NODE: found "": want counts like 2(x3),1 for the 3 nodes of SLURM_JOB_NODELIST`},
		"bad counts":    {with(slurm, "SLURM_TASKS_PER_NODE", "2(x3,1"), "SLURM_TASKS_PER_NODE: found 2(x3,1: want counts like 2(x3),1 for the 3 nodes of SLURM_JOB_NODELIST"},
		"other number":  {with(slurm, "SLURM_TASKS_PER_NODE", "1(x3)", "SLURM_JOB_NUM_NODES", "2"), "SLURM_JOB_NUM_NODES: found 2: want 3, the number of nodes in SLURM_JOB_NODELIST"},
		"nested":        {with(slurm, "SLURM_JOB_NODELIST", "n[[1-2]]"), "SLURM_JOB_NODELIST=n[[1-2]]: host expression, column 2: found [[1-2]]: want a range in one pair of brackets, like [1-4,7]"},
		"no number":     {with(slurm, "SLURM_JOB_NODELIST", "n[1-3,7-x]"), "SLURM_JOB_NODELIST=n[1-3,7-x]: host expression, column 7: found [7-x]: want numbers or ranges from low to high, like [01-04,7]"},
		"zeros":         {with(slurm, "SLURM_JOB_NODELIST", "n[0000001-2]", "SLURM_TASKS_PER_NODE", "1(x2)"), "Slurm job 7: n0000001:1 n0000002:1"},
		"a billion":     {with(slurm, "SLURM_JOB_NODELIST", "n[1-1000000000]"), "SLURM_JOB_NODELIST=n[1-1000000000]: host expression, column 3: found [1-1000000000]: want at most 65536 hosts in all"},
		"bad c":         {with(slurm, "SLURM_JOB_CPUS_PER_NODE", "2(x3)", "SLURM_CPUS_PER_TASK", "0"), "SLURM_CPUS_PER_TASK: found 0: want a number from 1 to 65536"},
		"worse c":       {with(slurm, "SLURM_TASKS_PER_NODE", "2(x3)", "SLURM_CPUS_PER_TASK", "2;id"), "SLURM_CPUS_PER_TASK: found 2;id: want a number from 1 to 65536"},
		"bad list":      {with(slurm, "SLURM_JOB_NODELIST", "n[1-"), "SLURM_JOB_NODELIST=n[1-: host expression, column 2: found [1-: want a range in one pair of brackets, like [1-4,7]"},
		"tainted list":  {with(slurm, "SLURM_JOB_NODELIST", "-oProxyCommand=x", "SLURM_TASKS_PER_NODE", "1"), "SLURM_JOB_NODELIST: found -oProxyCommand=x: want " + wantHost},
		"tainted Slurm": {with(slurm, "SLURM_JOB_ID", "1;rm -rf /"), "SLURM_JOB_ID: found 1;rm -rf /: want the number of a Slurm job"},

		"PBS":           {map[string]string{"PBS_JOBID": "12[3].head", "PBS_NODEFILE": lines}, "PBS job 12[3].head: node1:2 node2:1 node3:1"},
		"PBS, one each": {map[string]string{"PBS_JOBID": "12.head", "PBS_NODEFILE": one}, "PBS job 12.head: node1:1 node2:1"},
		"PBS, no file":  {map[string]string{"PBS_JOBID": "12.head", "PBS_NODEFILE": dir + "/no"}, "PBS_NODEFILE: open " + dir + "/no: no such file or directory: want the batch system's file of hosts, which is on the first node of the job"},
		"PBS, bad file": {map[string]string{"PBS_JOBID": "12.head", "PBS_NODEFILE": bad}, "PBS_NODEFILE " + bad + ":2:1: found $(id): want " + wantHost},
		"PBS, empty":    {map[string]string{"PBS_JOBID": "12.head", "PBS_NODEFILE": empty}, "PBS_NODEFILE " + empty + ": found no hosts: want at least one, like node1 or node1:4"},
		"tainted PBS":   {map[string]string{"PBS_JOBID": "$(id)", "PBS_NODEFILE": lines}, "PBS_JOBID: found $(id): want the number of a PBS job"},

		"tainted Grid Engine": {map[string]string{"JOB_ID": "1\n2", "PE_HOSTFILE": lines}, `JOB_ID: found "1\n2": want the number of a Grid Engine job`},

		"LSF file":      {with(lsf, "LSB_DJOB_HOSTFILE", lines, "LSB_MCPU_HOSTS", "x 1"), "LSF job 12: node1:2 node2:1 node3:1"},
		"LSF counts":    {with(lsf, "LSB_MCPU_HOSTS", "hA 4 hB 2 hA 1", "LSB_HOSTS", "x"), "LSF job 12: hA:5 hB:2"},
		"LSF hosts":     {with(lsf, "LSB_HOSTS", "hA hA hB"), "LSF job 12: hA:2 hB:1"},
		"LSF, odd":      {with(lsf, "LSB_MCPU_HOSTS", "hA 4 hB"), "LSB_MCPU_HOSTS: found hA 4 hB: want each host and its number of slots, like hostA 4 hostB 2"},
		"LSF, no count": {with(lsf, "LSB_MCPU_HOSTS", "hA hB"), "LSB_MCPU_HOSTS: found hA hB: want a number from 1 to 65536 after each host"},
		"LSF, tainted":  {with(lsf, "LSB_HOSTS", "a;b"), "LSB_HOSTS: found a;b: want " + wantHost},
	} {
		if got := summary(Allocation(lookup(test.env))); got != test.want {
			t.Errorf("%s: got %s\nwant %s", name, got, test.want)
		}
	}
}
