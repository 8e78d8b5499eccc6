package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/launch/door"
)

// lastWords is the time that a client has to take what its agent has said when that has ended.
const lastWords = 5 * time.Second

// session is one client and its agent.
type session struct {
	server *server
	from   string // address
	began  time.Time
	client door.Client
	raw    net.Conn
	conn   *tls.Conn // over raw

	job jobState // guarded by server.mu
}

// jobState is what the agent has told of its job.
type jobState struct {
	agent.Entry     // of the first start: job, program
	running     int // processes
	status      int // of the first that failed
}

// close ends it. The agent ends all that it has started.
func (c *session) close() { c.raw.Close() }

// run starts the agent and carries bytes until both have ended. It says how the agent ended.
func (c *session) run() string {
	defer c.close()
	ours, theirs, err := agent.Pair()
	if err != nil {
		return err.Error()
	}
	defer ours.Close()
	ledger, entries, err := os.Pipe()
	if err != nil {
		theirs.Close()
		return err.Error()
	}
	defer ledger.Close()
	cmd := c.server.agent(theirs, entries)
	err = cmd.Start()
	theirs.Close()
	entries.Close()
	if err != nil {
		return err.Error()
	}
	release, err := c.server.fence(cmd.Process.Pid) // before its client can tell it to start anything
	if err != nil {
		defer release()
		c.server.log.Error("client not served", "address", c.from, "why", err)
		ours.Close()
		cmd.Wait()
		return err.Error()
	}
	var in sync.WaitGroup // all but what the agent says
	in.Go(func() {
		io.Copy(ours, c.conn)
		ours.CloseWrite() // the end of its input is the agent's order to end everything
	})
	in.Go(func() { c.read(ledger) })
	in.Go(func() {
		err = cmd.Wait()
		release()
		c.conn.SetDeadline(time.Now().Add(lastWords)) // a client that takes nothing keeps us no longer
		ledger.SetReadDeadline(time.Now().Add(lastWords))
	})
	io.Copy(c.conn, ours)
	c.conn.CloseWrite()
	in.Wait()
	if err != nil {
		return err.Error()
	}
	return "exit status 0"
}

// read takes what the agent tells of its job, until it ends.
func (c *session) read(ledger io.Reader) {
	lines := bufio.NewScanner(ledger)
	lines.Buffer(nil, agent.EntryLen)
	for lines.Scan() {
		var e agent.Entry
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			c.take(e)
		}
	}
	io.Copy(io.Discard, ledger) // what is no ledger must not keep the agent
}

func (c *session) take(e agent.Entry) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.What {
	case agent.EntryStart:
		if c.job.Job == "" {
			c.job.Entry = e
			s.log.Info("job", c.audit()...)
		}
		c.job.running += e.Ranks
	case agent.EntryExit:
		c.job.running = max(0, c.job.running-1)
		if c.job.status == 0 {
			c.job.status = e.Status
		}
		s.stats.add(c.client.Name, e.Wall)
	}
}

// audit says in the log who did what.
func (c *session) audit() []any {
	who := []any{"address", c.from, "key", c.client.Name}
	if c.job.Job == "" {
		return who
	}
	return append(who, slog.String("job", c.job.Job), slog.String("program", c.job.Program), slog.String("sha256", c.job.SHA256))
}

// fence limits an agent and all that it will start. release ends what is left of that.
func (s *server) fence(pid int) (release func(), err error) {
	var g group
	if s.groups != nil {
		if g, err = s.groups.make(s.quotas); err == nil {
			err = g.add(pid)
		}
	}
	return g.remove, err
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
