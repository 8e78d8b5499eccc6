package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/pprun/pprun/launch/agent"
)

// process is the agent of a client.
type process struct {
	cmd    *exec.Cmd
	conn   *net.UnixConn
	ledger *os.File // what it tells of its job
	group  group    // it, and all that it has started
}

// startAgent starts one, which is limited before it can be told to start anything.
func (s *server) startAgent() (*process, error) {
	conn, theirs, err := agent.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	ledger, entries, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer entries.Close()
	p := &process{cmd: s.agent(theirs, entries), conn: conn, ledger: ledger}
	if err = p.cmd.Start(); err == nil && s.groups != nil {
		if p.group, err = s.groups.make(s.quotas); err == nil {
			err = p.group.add(p.cmd.Process.Pid)
		}
		if err != nil {
			conn.Close()
			err = errors.Join(err, p.wait())
		}
	}
	if err != nil {
		conn.Close()
		ledger.Close()
		return nil, err
	}
	return p, nil
}

// wait waits for its end, and ends what it has left.
func (p *process) wait() error {
	defer p.group.remove()
	return p.cmd.Wait()
}

// agent is the command that becomes the agent of a client.
func (s *server) agent(socket, ledger *os.File) *exec.Cmd {
	cmd := exec.Command(ownExecutable)
	cmd.Args = []string{"ppserver", "agent", "--fd", "3", "--server", s.host, "--ledger", "4", "--quotas", s.Quotas.String()}
	cmd.ExtraFiles = []*os.File{socket, ledger}
	cmd.Stderr = os.Stderr
	cmd.Dir = "/"
	cmd.Env = append(s.user.environ(), fmt.Sprintf("GOMAXPROCS=%d", s.workers))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.user.credential}
	return cmd
}

// kept are the variables of ours that clients' programs get.
var kept = []string{"PATH", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "PPRUN_CACHE_SIZE"}

// keptOwn are those that are of this user.
var keptOwn = []string{"HOME", "USER", "LOGNAME", "SHELL", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "PPRUN_CACHE"}

func keep(names []string) []string {
	var env []string
	for _, name := range names {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// ownExecutable is a path to this very program, even if its file has been replaced since.
var ownExecutable = func() string {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self
	}
	path, _ := os.Executable()
	return strings.TrimSpace(path)
}()
