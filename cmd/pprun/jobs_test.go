package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// jobs is a lab with scripts/jobs, pprun and examples/primes in a directory that all hosts share, as on a cluster.
type jobs struct {
	*labtest.Lab
	t   *testing.T
	dir string // as hosts know it
}

func newJobs(t *testing.T, hosts int) jobs {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	primes := filepath.Join(t.TempDir(), "primes")
	if out, err := exec.Command("go", "build", "-o", primes, "../../examples/primes").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	j := jobs{labtest.Up(t, labtest.Config{Hosts: hosts}), t, ""}
	if j.Mode() == labtest.Loopback {
		t.Skip("hosts of mode loopback have one name")
	}
	if err := os.MkdirAll(filepath.Join(j.Shared(), "job", "examples"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(j.Shared(), "job"), 0o777); err != nil { // whatever the umask
		t.Fatal(err)
	}
	j.Install("job/pprun", exe)
	j.Install("job/examples/primes", primes)
	for _, script := range []string{"slurm.sbatch", "pbs.sh", "sge.sh", "lsf.sh"} {
		j.Install("job/"+script, filepath.Join("../../scripts/jobs", script))
	}
	j.dir = j.Path("job")
	return j
}

// key lets a user go from a node to all others, as a home directory that nodes share would.
func (j jobs) key(node, user string) {
	j.t.Helper()
	key, err := os.Open(filepath.Join(j.Dir(), "keys", user))
	if err != nil {
		j.t.Fatal(err)
	}
	defer key.Close()
	cmd := j.ExecUser(node, user, "sh", "-c", "umask 077; cat >.ssh/id_ed25519")
	cmd.Stdin = key
	if out, err := cmd.CombinedOutput(); err != nil {
		j.t.Fatalf("%v: %s", err, out)
	}
}

// check looks at what a job script printed: pprun's words match, and primes ran on all ranks.
func check(t *testing.T, out, source, launched string) {
	t.Helper()
	for _, want := range []string{
		`(?m)^pprun: ` + source + `$`,
		`(?m)^pprun: ` + launched,
		`(?m)^Starting with \d+ slots$`,
		`(?m)^Sum of primes below 100700 is \d+$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no line like %s in\n%s", want, out)
		}
	}
}

// What a batch system does, as far as pprun can tell: it runs the script on the first node, in the environment that it
// was seen (Slurm, Grid Engine) or is documented (PBS, LSF) to make.
func TestJobScripts(t *testing.T) {
	j := newJobs(t, 4)
	j.key("node1", "root")
	file := func(name, content string) string {
		if err := os.WriteFile(filepath.Join(j.Shared(), name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return j.Path(name)
	}
	j.Output("node1", "sed", "-i", "s/ node1$/ node1.lab node1/", "/etc/hosts")
	slots := file("nodefile", strings.Repeat("node1\n", 3)+"node2\n")
	for _, job := range []struct {
		name, script     string
		env              []string
		source, launched string
	}{
		{"Slurm", "slurm.sbatch",
			[]string{"SLURM_JOB_ID=3", "SLURM_JOB_NODELIST=node[1-2]", "SLURM_NTASKS=4", "SLURM_TASKS_PER_NODE=3,1", "SLURM_PROCID=0"},
			"Slurm job 3 gave 2 nodes with 4 slots", `4 ranks on 2 nodes \(node1:3 node2:1\)`},
		{"Slurm, CPUs per task", "slurm.sbatch",
			[]string{"SLURM_JOB_ID=5", "SLURM_JOB_NODELIST=node[1-4]", "SLURM_NTASKS=6", "SLURM_CPUS_PER_TASK=2",
				"SLURM_TASKS_PER_NODE=2(x2),1(x2)", "SLURM_JOB_CPUS_PER_NODE=4(x2),2(x2)", "SLURM_PROCID=0"},
			"Slurm job 5 gave 4 nodes with 6 slots", `6 ranks on 4 nodes \(node1:2 node2:2 node3:1 node4:1\)`},
		{"Grid Engine", "sge.sh",
			[]string{"JOB_ID=2", "PE=mpifill", "NSLOTS=6", "NHOSTS=2", "SGE_TASK_ID=undefined",
				"PE_HOSTFILE=" + file("pe_hostfile", "node1 4 all.q@node1 UNDEFINED\nnode4 2 all.q@node4 UNDEFINED\n")},
			"Grid Engine job 2 gave 2 nodes with 6 slots", `6 ranks on 2 nodes \(node1:4 node4:2\)`},
		// Nobody has a host key of that name: were the node not known to be the machine itself, ssh would refuse.
		{"Grid Engine, own full name", "sge.sh",
			[]string{"JOB_ID=4", "PE_HOSTFILE=" + file("full", "node1.lab 2 all.q@node1.lab UNDEFINED\n")},
			"Grid Engine job 4 gave 1 node with 2 slots", `2 ranks on 1 node\b`},
		{"PBS", "pbs.sh",
			[]string{"PBS_JOBID=12.head", "PBS_ENVIRONMENT=PBS_BATCH", "PBS_NODEFILE=" + slots, "PBS_O_WORKDIR=" + j.dir},
			"PBS job 12.head gave 2 nodes with 4 slots", `4 ranks on 2 nodes \(node1:3 node2:1\)`},
		{"LSF", "lsf.sh",
			[]string{"LSB_JOBID=9", "LSB_MCPU_HOSTS=node1 2 node3 2", "LSB_HOSTS=node1 node1 node3 node3"},
			"LSF job 9 gave 2 nodes with 4 slots", `4 ranks on 2 nodes \(node1:2 node3:2\)`},
		{"LSF with a file, on one node", "lsf.sh",
			[]string{"LSB_JOBID=10", "LSB_DJOB_HOSTFILE=" + file("one", "node1\nnode1\n")},
			"LSF job 10 gave 1 node with 2 slots", `2 ranks on 1 node\b`},
	} {
		t.Run(job.name, func(t *testing.T) {
			dir := j.dir
			if job.name == "PBS" {
				dir = "/tmp" // it does not start jobs where they were submitted
			}
			args := []string{"-C", dir, "PATH=" + j.dir + ":/usr/bin:/bin"}
			args = append(append(args, job.env...), "sh", j.Path("job/"+job.script))
			out, err := j.For(t).Exec("node1", "env", args...).CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v", job.script, err)
			}
			check(t, string(out), job.source, job.launched)
		})
	}
}

// A real Slurm runs scripts/jobs/slurm.sbatch, unchanged and by an ordinary user, on all slots of four nodes.
func TestSlurm(t *testing.T) {
	j := newJobs(t, 4)
	if j.Mode() != labtest.Root {
		t.Skip("Slurm's daemons need root")
	}
	j.Slurm(2)
	for n := range 4 {
		j.key(fmt.Sprintf("node%d", n+1), "alice") // any node may be the first
	}
	// sbatch --wait would look every ten seconds.
	submit := `id=$(sbatch --parsable --output=slurm.out slurm.sbatch) || exit
		until state=$(scontrol show job $id | grep -o 'JobState=[A-Z]*') && case $state in *PENDING | *RUNNING | *COMPLETING) false; esac; do sleep .1; done
		cat slurm.out; echo $state`
	out, err := j.ExecUser("head", "alice", "env", "-C", j.dir, "PATH="+j.dir+":/usr/bin:/bin", "timeout", "60", "sh", "-c", submit).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "\nJobState=COMPLETED\n") {
		t.Errorf("%v: %s", err, out)
	}
	check(t, string(out), `Slurm job \d+ gave 4 nodes with 8 slots`, `8 ranks on 4 nodes \(node1:2 node2:2 node3:2 node4:2\)`)
}
