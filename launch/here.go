package launch

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

// hereLauncher is the launcher for this machine: the agent is this executable once more, as a process of its own.
type hereLauncher struct {
	Stdin  *os.File // becomes the agent's descriptor 0, for a rank to inherit; nil: none
	Stdout *os.File // becomes its descriptor 1, for what the ranks print; nil: none
}

// Launch starts one agent for each node.
func (h hereLauncher) Launch(ctx context.Context, nodes []hostfile.Node, up upFunc) error {
	for i := range nodes {
		conn, err := h.launch()
		if err != nil {
			up(i, nil, fmt.Errorf("start agent: %w", err))
			continue
		}
		up(i, conn, nil)
	}
	return nil
}

func (h hereLauncher) launch() (io.ReadWriteCloser, error) {
	exe, err := ownExecutable()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := agent.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		ours.Close()
		return nil, err
	}
	defer null.Close()
	// Not os/exec, whose first process in a program's life is preceded by another, to find out about pidfds.
	pid, err := syscall.ForkExec(exe, []string{"pprun", "agent", "--fd", "3"}, &syscall.ProcAttr{
		Env:   append(os.Environ(), agent.EnvMode+"=agent"),
		Files: []uintptr{cmp.Or(h.Stdin, null).Fd(), cmp.Or(h.Stdout, null).Fd(), os.Stderr.Fd(), theirs.Fd()},
		// A session of its own: signals of the terminal are the launcher's to pass on.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		ours.Close()
		return nil, err
	}
	return &localConn{Conn: ours, pid: pid, ended: make(chan struct{})}, nil
}

// localConn is the connection to an agent that is our child.
type localConn struct {
	net.Conn
	pid   int
	mute  atomic.Bool // it does not answer: Close kills it
	done  atomic.Bool // nothing is left but itself: Close does not wait for it
	once  sync.Once
	err   error         // of closing, set by once
	ended chan struct{} // closed when it has ended, some time after Close
}

// lastWait is how long an agent may take to end once its connection is closed, beyond what it needs to end its ranks.
const lastWait = 15 * time.Second

// Close ends the agent: the end of its input is its order to end everything.
func (c *localConn) Close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		go c.reap()
	})
	if !c.done.Load() {
		<-c.ended
	}
	return c.err
}

func (c *localConn) reap() {
	defer close(c.ended)
	wait := lastWait
	if c.mute.Load() {
		wait = 0
	}
	kill := time.AfterFunc(wait, func() { syscall.Kill(c.pid, syscall.SIGKILL) })
	defer kill.Stop()
	again(func() (int, error) { return syscall.Wait4(c.pid, nil, 0, nil) })
}
