package bench

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Lab is a set of ssh hosts of scripts/lab, node1 and so on. Commands run on its host head.
type Lab struct {
	dir  string
	user string
}

// WithLab raises so many hosts, with pprun on them, while f runs. Commands run as user, who is root or alice. It needs root,
// and the root of the repository as working directory.
func WithLab(hosts int, user string, f func(lab *Lab, pprun string) error) error {
	return WithPprun(func(dir, pprun string) error {
		l := &Lab{filepath.Join(dir, "lab"), user}
		if err := l.Do("up", strconv.Itoa(hosts)); err != nil {
			return err
		}
		defer l.Do("down")
		pprun, err := l.Install(pprun)
		if err != nil {
			return err
		}
		return f(l, pprun)
	})
}

// Do is one command of scripts/lab/lab.
func (l *Lab) Do(args ...string) error {
	if out, err := l.command(args...).CombinedOutput(); err != nil {
		return fmt.Errorf("lab %s: %w: %.500s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (l *Lab) command(args ...string) *exec.Cmd {
	cmd := exec.Command("scripts/lab/lab", args...)
	cmd.Env = append(os.Environ(), "LAB_DIR="+l.dir)
	return cmd
}

// Shared is the directory of this machine that hosts know as /shared.
func (l *Lab) Shared() string { return filepath.Join(l.dir, "shared") }

// Install copies an executable to where all hosts see it, and returns its path there.
func (l *Lab) Install(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	name := filepath.Base(path)
	return "/shared/" + name, os.WriteFile(filepath.Join(l.Shared(), name), data, 0o755)
}

// InstallSelf is Install of the program that runs.
func (l *Lab) InstallSelf() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return l.Install(self)
}

// Run runs a command on head and returns how many milliseconds it took; longer than limit is an error.
func (l *Lab) Run(limit time.Duration, argv ...string) (float64, error) {
	patience := strconv.FormatFloat(limit.Seconds(), 'f', -1, 64)
	cmd := l.command(append([]string{"exec", "head", "-u", l.user, "timeout", patience}, argv...)...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %.200s", err, out)
	}
	return float64(time.Since(start).Microseconds()) / 1000, nil
}

// Start starts a command on head, whose streams are the caller's. Signals for it are sent to its own process.
func (l *Lab) Start(stdout, stderr io.Writer, argv ...string) (*exec.Cmd, error) {
	cmd := l.command(append([]string{"exec", "head", "-u", l.user}, argv...)...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, cmd.Start()
}

// Output runs a command on a host and returns what it writes to its standard output.
func (l *Lab) Output(host string, argv ...string) (string, error) {
	out, err := l.command(append([]string{"exec", host, "-u", l.user}, argv...)...).Output()
	return string(out), err
}

// Process is a process of a host, by the number that this machine knows it by.
type Process struct {
	PID  int
	Host string
	Args []string
	Env  []byte // NAME=value, each with a 0 behind it
}

// Processes returns what runs on the hosts that are up, but for zombies.
func (l *Lab) Processes() (all []Process) {
	hosts := map[string]string{} // by PID namespace
	found, _ := filepath.Glob(filepath.Join(l.dir, "h", "*", "pid"))
	for _, path := range found {
		b, _ := os.ReadFile(path)
		if f := strings.Fields(string(b)); len(f) == 2 {
			hosts[f[1]] = filepath.Base(filepath.Dir(path))
		}
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		namespace, _ := os.Readlink(dir + "/ns/pid")
		args, _ := os.ReadFile(dir + "/cmdline") // of a zombie there is none
		if host := hosts[namespace]; host != "" && len(args) > 0 {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			env, _ := os.ReadFile(dir + "/environ")
			all = append(all, Process{pid, host, strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00"), env})
		}
	}
	return all
}

// Entry measures how many milliseconds a command takes on head.
func (l *Lab) Entry(name string, limit time.Duration, argv ...string) Entry {
	return Entry{name, strings.Join(argv, " "), func() (float64, error) { return l.Run(limit, argv...) }}
}
