package labtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// unavailable is the status by which the script says that the machine or the mode cannot do something.
const unavailable = 69

// command is the script with its arguments.
func (l *Lab) command(args ...string) *exec.Cmd {
	l.t.Helper()
	root, err := os.Getwd() // a test runs in its package's directory
	if err != nil {
		l.t.Fatal(err)
	}
	for {
		script := filepath.Join(root, "scripts", "lab", "lab")
		if _, err := os.Stat(script); err == nil {
			cmd := exec.Command(script, args...)
			cmd.Env = append(os.Environ(), "LAB_DIR="+l.dir)
			return cmd
		}
		if root == filepath.Dir(root) {
			l.unavailable("needs scripts/lab/lab in a directory above the working directory")
		}
		root = filepath.Dir(root)
	}
}

// do runs a verb of the script to its end.
func (l *Lab) do(args ...string) {
	l.t.Helper()
	out, err := l.command(args...).CombinedOutput()
	l.check(err, string(out))
}

// check ends the test if the script failed.
func (l *Lab) check(err error, out string) {
	l.t.Helper()
	if err == nil {
		return
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == unavailable {
		l.unavailable(out)
	}
	l.t.Fatalf("labtest: %v: %s", err, out)
}

func (l *Lab) unavailable(why string) {
	l.t.Helper()
	if os.Getenv("CI") == "true" {
		l.t.Fatal(why)
	}
	l.t.Skip(why)
}
