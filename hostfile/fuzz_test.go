package hostfile

import (
	"strings"
	"testing"

	"github.com/pprun/pprun/scripts/bounded"
)

// FuzzAllocation lets the environment say anything of an allocation: what comes of it can be named to ssh.
func FuzzAllocation(f *testing.F) {
	f.Add("SLURM_JOB_ID=7\nSLURM_JOB_NODELIST=n[1-3]\nSLURM_TASKS_PER_NODE=2(x2),1")
	f.Add("SLURM_JOBID=7\nSLURM_NODELIST=a,b\nSLURM_JOB_CPUS_PER_NODE=72(x2)\nSLURM_CPUS_PER_TASK=4")
	f.Add("SLURM_JOB_ID=7\nSLURM_JOB_NODELIST=n[1-9][1-9][1-9][0-9]\nSLURM_TASKS_PER_NODE=4(x1000000000)")
	f.Add("LSB_JOBID=12\nLSB_MCPU_HOSTS=hA 4 hB 2")
	f.Add("LSB_JOBID=12\nLSB_HOSTS=hA hA -oProxyCommand=x")
	f.Add("PBS_JOBID=12.head\nPBS_NODEFILE=/dev/null")
	f.Fuzz(func(t *testing.T, text string) {
		defer bounded.Memory(t)()
		vars := map[string]string{}
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			if strings.HasSuffix(name, "FILE") && value != "" {
				value = "/dev/null" // the files' own format is FuzzParse's affair
			}
			vars[name] = value
		}
		hosts, err := Allocation(lookup(vars))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x00\x1b\r") {
				t.Errorf("control characters in %q", err)
			}
			return
		}
		if hosts == nil {
			return
		}
		for _, n := range hosts.Nodes {
			if !validHost(n.Host) || n.User != "" && !validUser(n.User) || n.Slots < 1 {
				t.Errorf("%q gives %+v", text, n)
			}
		}
	})
}
