package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/ssh"
)

// commandLauncher is the launcher for nodes that an external command reaches, such as OpenSSH with Kerberos, or qrsh -inherit:
//
//	CMD [USER@]HOST 'exec /bin/sh'
//
// It connects its stdin and stdout with those of the shell there. It runs in a session of its own: no Ctrl-C reaches
// it, and it has no terminal to ask questions on, which would end in two programs reading one.
type commandLauncher struct {
	Line     string        // CMD; blanks separate its words, and no shell reads them
	patience time.Duration // for each answer of the node; 0: bootstrapTime
}

const (
	commandPatience = 500 * time.Millisecond // to end by itself when its stdin has ended
	statusPatience  = time.Second            // to end when its stdout has ended
	maxCommandError = 16 << 10               // what is kept of its stderr
)

// Launch brings the agent to all nodes.
func (c *commandLauncher) Launch(ctx context.Context, nodes []hostfile.Node, up upFunc) error {
	words := strings.Fields(c.Line)
	if len(words) == 0 {
		return errors.New("--ssh: want a command")
	}
	program, err := exec.LookPath(words[0])
	if err != nil {
		return fmt.Errorf("--ssh %s: %w", words[0], errors.Unwrap(err))
	}
	go ownAgent() // it takes a moment, as the command does
	launchEach(nodes, up, func(n hostfile.Node, _ func(func())) (io.ReadWriteCloser, error) {
		destination, err := destination(n)
		if err != nil {
			return nil, err
		}
		args := append(words[1:len(words):len(words)], destination, enterShell)
		conn, err := c.launch(ctx, exec.Command(program, args...))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", words[0], err)
		}
		conn.local = routeTo(ctx, n.Host)
		return conn, nil
	})
	return nil
}

// destination is the word that names a node.
func destination(n hostfile.Node) (string, error) {
	if err := ssh.CheckDestination(n.User, n.Host); err != nil {
		return "", err
	}
	switch {
	case n.Port != 0:
		return "", fmt.Errorf("port %d cannot be told to the command of --ssh: put it into the command or its configuration", n.Port)
	case n.User != "":
		return n.User + "@" + n.Host, nil
	}
	return n.Host, nil
}

// launch starts the command and makes the shell behind it an agent.
func (c *commandLauncher) launch(ctx context.Context, cmd *exec.Cmd) (*commandConn, error) {
	conn, err := startCommand(cmd)
	if err != nil {
		return nil, err
	}
	patience := c.patience
	if patience == 0 {
		patience = bootstrapTime
	}
	limit := newDeadline(ctx, patience, conn.interrupt)
	r, err := bootstrap(ctx, conn.raw(), limit.move)
	if inTime := limit.end(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else {
			err = conn.explain(err, patience, inTime)
		}
		conn.Close()
		return nil, err
	}
	conn.r = r
	return conn, nil
}

// commandConn is the connection to an agent through a command.
type commandConn struct {
	r      io.Reader // stdout behind the bootstrap
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *os.File
	stderr lastBytes
	local  net.Addr // our end of the route to the host; nil: not known
	ended  chan struct{}
	end    func()
}

func startCommand(cmd *exec.Cmd) (*commandConn, error) {
	c := &commandConn{cmd: cmd, ended: make(chan struct{})}
	stdout, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	c.stdout = stdout
	cmd.Stdout, cmd.Stderr = theirs, &c.stderr
	cmd.WaitDelay = statusPatience // others may hold its stderr open
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stdout.Close()
		return nil, err
	}
	go func() {
		cmd.Wait() // closes stdin
		close(c.ended)
	}()
	c.end = sync.OnceFunc(func() {
		c.interrupt()
		if !c.endsWithin(commandPatience) {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-c.ended
		}
	})
	return c, nil
}

// raw is the connection as the bootstrap wants it.
func (c *commandConn) raw() io.ReadWriter {
	return struct {
		io.Reader
		io.Writer
	}{c.stdout, c.stdin}
}

// interrupt makes all reads and writes return.
func (c *commandConn) interrupt() {
	c.stdin.Close()
	c.stdout.Close()
}

func (c *commandConn) endsWithin(d time.Duration) bool {
	select {
	case <-c.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// explain says why the bootstrap failed, as close to the root as is known.
func (c *commandConn) explain(err error, patience time.Duration, inTime bool) error {
	noise, _ := errors.AsType[*noiseError](err)
	printed := ""
	if noise != nil {
		printed = noise.printed()
	}
	switch {
	case !inTime:
		err = fmt.Errorf("no answer from /bin/sh for %v%s: does it wait for something, or a start-up file of the login shell?", patience, printed)
	case noise == nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed): // the node has answered: err is what it said
	case noise != nil && noise.err != io.EOF:
		err = fmt.Errorf("did not run /bin/sh%s", printed)
	case !c.endsWithin(statusPatience):
		err = fmt.Errorf("closed its output before the agent ran%s", printed)
	default:
		err = fmt.Errorf("ended before the agent ran (%s)%s", c.cmd.ProcessState, printed)
	}
	if said := lastLine(c.stderr.String()); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// Read reads from the agent. At the end of the stream the error says what is known of the cause.
func (c *commandConn) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err != io.EOF {
		return n, err
	}
	why := "closed its output"
	if c.endsWithin(statusPatience) {
		why = "ended (" + c.cmd.ProcessState.String() + ")"
	}
	if said := lastLine(c.stderr.String()); said != "" {
		why += ": " + said
	}
	return n, fmt.Errorf("its agent is gone: %s %s", c.cmd.Args[0], why)
}

func (c *commandConn) Write(b []byte) (int, error) { return c.stdin.Write(b) }

// Close ends the agent and the command.
func (c *commandConn) Close() error {
	c.end()
	return nil
}

// LocalAddr is our address on the way to the host; nil where that is not known.
func (c *commandConn) LocalAddr() net.Addr { return c.local }

// routeTo asks the kernel from which address this machine would speak to host; nothing is sent.
func routeTo(ctx context.Context, host string) net.Addr {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(host, "22"))
	if err != nil {
		return nil
	}
	defer c.Close()
	return c.LocalAddr()
}

// lastBytes keeps the last of what is written to it.
type lastBytes struct {
	mu   sync.Mutex // guards kept
	kept []byte
}

func (l *lastBytes) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, b...)
	if over := len(l.kept) - maxCommandError; over > 0 {
		l.kept = append(l.kept[:0], l.kept[over:]...)
	}
	return len(b), nil
}

func (l *lastBytes) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ToValidUTF8(string(l.kept), "\ufffd")
}
