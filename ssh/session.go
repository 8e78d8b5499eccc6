package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"

	xssh "golang.org/x/crypto/ssh"
)

const (
	maxStderr = 16 << 10  // bytes of a command's stderr that are kept
	maxWrite  = 256 << 10 // bytes in one write to a channel; GO-2026-5005..5033: huge ones spin
)

// A Session is a command running on the host: Read reads its stdout, Write writes its stdin. One
// goroutine may read while another writes.
type Session struct {
	client *Client
	stdin  io.WriteCloser
	stdout io.Reader
	stderr tail
	remote *xssh.Session
	ended  chan struct{} // closed when the command has ended
	err    error         // read after ended is closed
}

// An ExitError is a command that ended with a status other than 0.
type ExitError struct {
	Status int    // exit status; 128 + number, if the command was killed by a signal
	Signal string // name of that signal, without SIG; usually ""
}

func (e *ExitError) Error() string {
	if e.Signal != "" {
		return "killed by signal " + e.Signal
	}
	return fmt.Sprintf("exit status %d", e.Status)
}

// Start runs command by the login shell of the user on the host, as `ssh HOST command` does. It returns
// when the host has said that it will. ctx and Config.Timeout limit that; they do not matter afterwards.
func (c *Client) Start(ctx context.Context, command string) (*Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout(c.timeout))
	defer cancel()
	type result struct {
		s   *Session
		err error
	}
	started := make(chan result)
	err := c.run(func() {
		s, err := c.start(command)
		select {
		case started <- result{s, err}:
		case <-ctx.Done():
			if err == nil {
				s.Close()
			}
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case r := <-started:
		return r.s, r.err
	case <-ctx.Done():
		return nil, &Error{Host: c.host, Phase: phaseStart, Err: context.Cause(ctx)}
	}
}

func (c *Client) start(command string) (*Session, error) {
	remote, err := c.client.NewSession()
	if err != nil {
		e := &Error{Host: c.host, Phase: phaseStart, Err: trim(err)}
		var refused *xssh.OpenChannelError
		if errors.As(err, &refused) {
			e.Err, e.Fix = fmt.Errorf("session refused: %s", refused.Message), "what is MaxSessions of sshd there?"
		}
		return nil, c.lostOr(e)
	}
	s := &Session{client: c, remote: remote, stderr: tail{max: maxStderr}, ended: make(chan struct{})}
	s.stdin, _ = remote.StdinPipe() // fail only if called twice
	s.stdout, _ = remote.StdoutPipe()
	stderr, _ := remote.StderrPipe()
	if err := remote.Start(command); err != nil {
		remote.Close()
		return nil, c.lostOr(&Error{Host: c.host, Phase: phaseStart, Err: trim(err)})
	}
	c.running.Go(func() {
		io.Copy(&s.stderr, stderr) // or the host would stop reading the command's output
		s.err = c.exit(remote.Wait())
		close(s.ended)
	})
	return s, nil
}

// lostOr returns why the connection was lost, if it was, else err. What fails on a session fails a little
// before the connection is known to have ended, so the host is asked.
func (c *Client) lostOr(err error) error {
	if _, _, lost := c.client.SendRequest(keepAliveRequest, true, nil); lost == nil {
		return err
	}
	c.transport.Close()
	<-c.done
	return c.err
}

func (c *Client) exit(err error) error {
	var exit *xssh.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &ExitError{exit.ExitStatus(), exit.Signal()}
	}
	return c.lostOr(&Error{Host: c.host, Phase: phaseLost, Err: errors.New("the command ended without a status")})
}

// Read reads from the command's stdout.
func (s *Session) Read(p []byte) (int, error) { return s.stdout.Read(p) }

// Write writes to the command's stdin. It blocks while the command does not read.
func (s *Session) Write(p []byte) (int, error) {
	written := 0
	for {
		n, err := s.stdin.Write(p[written:min(len(p), written+maxWrite)])
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// CloseWrite ends the command's stdin.
func (s *Session) CloseWrite() error { return s.stdin.Close() }

// Close gives the command up: its stdin and stdout end. It does not wait for it and does not kill it.
func (s *Session) Close() error {
	if err := s.remote.Close(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Wait waits until the command has ended, which may take until its stdout was read. It returns nil for
// exit status 0, else an [*ExitError], or an [*Error] if the connection was lost first.
func (s *Session) Wait() error {
	<-s.ended
	return s.err
}

// Done is closed when the command has ended or the connection was lost; Wait then returns at once.
func (s *Session) Done() <-chan struct{} { return s.ended }

// Stderr returns the last 16 KiB of what the command has written to stderr so far.
func (s *Session) Stderr() string { return s.stderr.String() }
