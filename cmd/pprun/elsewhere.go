package main

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"

	"github.com/spf13/pflag"
)

// What people who come from other launchers type, and what takes its place here.

const (
	batch = "is for the batch system: ask that for machines, and start pprun inside the job"
	unset = "pprun binds nothing"
)

// elsewhere are flags of other launchers.
var elsewhere = map[string]string{
	"oversubscribe": "more ranks than slots are allowed anyway", "allow-run-as-root": "it is not needed",
	"map-by": "use --map", "rr": "use --map cyclic", "tag-output": "use -l", "prepend-rank": "use -l",
	"bind-to": unset, "cpu-bind": unset, "report-bindings": unset, "use-hwthread-cpus": unset,
	"ntasks": "use -n", "npernode": "use --ppn", "ntasks-per-node": "use --ppn", "pernode": "use --ppn 1", "cpus-per-task": "use -c",
	"nodelist": "use --host", "w": "use --host", "hosts-file": "use --hosts", "nodes": "use --host, and --ppn for the ranks on each",
	"p": batch, "partition": batch, "time": batch, "account": batch, "exclusive": batch,
	"chdir": "use --wdir", "D": "use --wdir", "wd": "use --wdir",
	"kill-on-bad-exit": "it is what happens anyway", "no-kill": "use --on-fail continue", "enable-recovery": "use --on-fail continue",
	"get-stack-traces": "use --stacks", "max-restarts": "use --respawn", "restarts": "use --respawn",
	"mca": "pprun has no parameters of Open MPI's; see pprun --help", "mpi": "pprun starts no MPI programs",
	"env-file": "use -x", "env": "use -x NAME=VALUE", "genv": "use -x NAME=VALUE", "genvnone": "use --env-none",
	"outfile-pattern": "use -o", "output-filename": "use -o", "merge-stderr-to-stdout": "use 2>&1", "s": "use --stdin",
	"display-map": "use --dry-run", "launcher-exec": "use --ssh", "launcher": "use --ssh", "preload-binary": "programs are copied anyway",
	"V": "use --version",
}

// flagError turns pflag's error into: flag, value, what is allowed.
func flagError(f *pflag.FlagSet, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name := e.GetSpecifiedName()
		dashes, hint := "--", "see pprun --help"
		if len(name) == 1 {
			dashes = "-"
		}
		if there, ok := elsewhere[name]; ok {
			hint = there
		} else if near := nearest(f, name); near != "" {
			hint = "did you mean --" + near + "?"
		}
		return fmt.Errorf("unknown flag %s%s: %s", dashes, name, hint)
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Errorf("%s %q: %w", spelt(e.GetFlag()), e.GetValue(), e.Unwrap())
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return fmt.Errorf("%s: its value is missing: see pprun --help", spelt(e.GetFlag()))
	}
	return err
}

// noCommand says that a word is no command of pprun's, where it is no program either.
func noCommand(word string) error {
	if _, err := exec.LookPath(word); err == nil || word != "help" && word != "version" {
		return nil
	}
	return fmt.Errorf("%s: is no program here, and pprun has no commands: did you mean --%s?", word, word)
}

// severalTimes says that another launcher starts pprun more than once; only the first of them says so.
func severalTimes(getenv func(string) string) error {
	for _, l := range []struct{ name, size, rank string }{
		{"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
		{"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
		{"mpiexec", "PMI_SIZE", "PMI_RANK"},
	} {
		if n, _ := strconv.Atoi(getenv(l.size)); n > 1 && getenv(l.rank) == "0" {
			return fmt.Errorf("warning: %s starts this pprun %d times, and each time all ranks: leave %s out", l.name, n, l.name)
		}
	}
	return nil
}

// severalPrograms says that the arguments are those of a launcher that starts several programs at once.
func severalPrograms(args []string) bool {
	i := slices.Index(args, ":")
	return i >= 0 && i+1 < len(args) && slices.Contains([]string{"-n", "-np", "--np"}, args[i+1])
}
