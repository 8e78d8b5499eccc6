package agent

import (
	"slices"
	"strings"
)

// keptNames and keptPrefixes are what a node knows better than the launcher: its user, its places, how to find its
// libraries and its services, and what a batch system says to the processes of one node.
var keptNames = []string{
	"HOME", "USER", "LOGNAME", "SHELL", "PATH", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMP", "HOSTNAME", "MAIL", "SHLVL", "_",
	"ARC", "ENVIRONMENT", "JOB_ID", "JOB_NAME", "JOB_SCRIPT", "NHOSTS", "NQUEUES", "NSLOTS", "PE", "PE_HOSTFILE", "QUEUE",
	"REQNAME", "REQUEST", "RESTARTED", // Grid Engine
	"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "INVOCATION_ID", "JOURNAL_STREAM", // systemd
	"MPIRUN_NODELIST", "LOADL_HOSTFILE",
}

var keptPrefixes = []string{
	"XDG_", "SSH_", "LD_", "DYLD_", "DBUS_", "PPRUN_",
	"SLURM_", "SLURMD_", "SRUN_", "SGE_", "PBS_", "LSB_", "LSF_", "LS_SUBCWD", "FLUX_", "PALS_", "JSM_", "OAR_", "COBALT_",
	"PMI_", "PMIX_", "OMPI_", "PRTE_", "MPI_LOCAL", "HYDRA_", "HYDI_", "KUBERNETES_",
}

// NodeKeeps says whether the variable has the node's value in a rank, and not the launcher's, unless the user names it:
// HOME, PATH, LD_* and their like, and those of batch systems. The launcher sends none of them by itself.
func NodeKeeps(name string) bool {
	return slices.Contains(keptNames, name) ||
		slices.ContainsFunc(keptPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// rankEnv is the environment that all ranks of the node share: the node's own as far as it is kept, over it what the
// launcher set, and the working directory. Variables of pprun itself come later, for each rank.
func rankEnv(node, set []string, all bool, dir string) []string {
	env := make([]string, 0, len(node)+len(set)+1)
	done := map[string]bool{"PWD": true}
	for _, v := range slices.Backward(set) { // of one name set twice the last counts
		if name := nameOf(v); !done[name] {
			done[name] = true
			env = append(env, v)
		}
	}
	for _, v := range node {
		name := nameOf(v)
		if done[name] || name == "OLDPWD" || name == "_" || strings.HasPrefix(name, "PPRUN_") {
			continue
		}
		if all || NodeKeeps(name) {
			env = append(env, v)
		}
	}
	return append(env, "PWD="+dir)
}

func nameOf(v string) string {
	name, _, _ := strings.Cut(v, "=")
	return name
}

// getenv returns the value of a name in env, empty where it is not set.
func getenv(env []string, name string) string {
	for _, v := range env {
		if len(v) > len(name) && v[len(name)] == '=' && v[:len(name)] == name {
			return v[len(name)+1:]
		}
	}
	return ""
}
