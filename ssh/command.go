package ssh

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// commandPatience is how long a proxy command may take to end by itself when its stdin has ended.
const commandPatience = 500 * time.Millisecond

// A commandConn is a proxy command, which speaks to the host with its stdin and stdout.
type commandConn struct {
	io.Reader        // stdout
	io.Writer        // stdin
	line      string // as configured: many hosts may have the same reason
	cmd       *exec.Cmd
	stderr    *tail
	end       func() error // ends the command, once
}

// command starts the ProxyCommand as ssh does, by the user's shell. It has a session of its own: no
// Ctrl-C reaches it before the connection has ended, and it cannot ask questions on the terminal.
func (d *dialing) command() (*conn, error) {
	line, err := d.set.expand(d.set.proxyCommand)
	if err != nil {
		return nil, fmt.Errorf("ProxyCommand: %w", err)
	}
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	c := &commandConn{line: d.set.proxyCommand, cmd: exec.Command(shell, "-c", "exec "+line), stderr: &tail{max: maxStderr}}
	c.cmd.Stderr = c.stderr
	c.cmd.WaitDelay = time.Second // stderr may be held open by others
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.Reader, c.Writer = stdout, stdin
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("ProxyCommand %s: %w", c.line, err)
	}
	c.end = sync.OnceValue(func() error {
		stdin.Close()
		kill := time.AfterFunc(commandPatience, func() { syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) })
		defer kill.Stop()
		return c.cmd.Wait()
	})
	return &conn{Conn: c}, nil
}

// A commandError is a proxy command that failed by itself.
type commandError struct{ err error }

func (e *commandError) Error() string { return e.err.Error() }
func (e *commandError) Unwrap() error { return e.err }

// explain ends the command and returns why the connection failed with err: because the command did, or else
// err.
func (c *commandConn) explain(err error) error {
	if !isReset(err) {
		return err
	}
	var exit *exec.ExitError
	failed := errors.As(c.end(), &exit) && exit.Exited()
	why := oneLine(c.stderr.String())
	switch {
	case why == "" && !failed:
		return err
	case why == "":
		why = exit.String()
	}
	return &commandError{fmt.Errorf("ProxyCommand %s: %s", c.line, why)}
}

// Close ends the command.
func (c *commandConn) Close() error {
	c.end()
	return nil
}

// commandAddr is the address of both ends, for want of a better one.
type commandAddr struct{}

func (commandAddr) Network() string { return "command" }
func (commandAddr) String() string  { return "0.0.0.0:0" }

func (c *commandConn) LocalAddr() net.Addr              { return commandAddr{} }
func (c *commandConn) RemoteAddr() net.Addr             { return commandAddr{} }
func (c *commandConn) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (c *commandConn) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (c *commandConn) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
