package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/ssh"
)

// sshLauncher is the launcher for nodes that are reached by ssh: one connection and one session for each, in which /bin/sh
// becomes the agent.
type sshLauncher struct {
	AcceptNew  bool
	ConfigFile string                                                    // instead of the user's; empty: as ssh does
	Passphrase func(ctx context.Context, keyFile string) ([]byte, error) // nil: ask on the terminal
	Warn       func(string)                                              // told of what hinders nothing; may be nil
	KeepAlive  time.Duration                                             // after which a silent host is asked for a sign of life; 0: as ssh.Config has it
	shared     ssh.Shared
}

const (
	atOnce = 32 // connections that are made at the same time
	// Login shells differ in their quoting; these two words they all take alike.
	enterShell = "exec /bin/sh"
)

// Launch brings the agent to all nodes.
func (s *sshLauncher) Launch(ctx context.Context, nodes []hostfile.Node, up upFunc) error {
	go ownAgent() // it takes a moment, as connections do
	launchEach(nodes, up, func(n hostfile.Node, aside func(func())) (io.ReadWriteCloser, error) { return s.launch(ctx, n, aside) })
	return nil
}

// launchEach launches all nodes, atOnce at a time, not counting those that wait aside.
func launchEach(
	nodes []hostfile.Node, up upFunc, launch func(n hostfile.Node, aside func(wait func())) (io.ReadWriteCloser, error),
) {
	var all sync.WaitGroup
	free := make(chan struct{}, atOnce)
	aside := func(wait func()) {
		<-free
		wait()
		free <- struct{}{}
	}
	for i, n := range nodes {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			conn, err := launch(n, aside)
			if err != nil {
				conn = nil // of no type
			}
			up(i, conn, err)
		})
	}
	all.Wait()
}

func (s *sshLauncher) dial(ctx context.Context, n hostfile.Node, aside func(func())) (*ssh.Client, error) {
	return ssh.Dial(ctx, n.Host, ssh.Config{
		User: n.User, Port: n.Port, ConfigFile: s.ConfigFile, AcceptNew: s.AcceptNew,
		Passphrase: s.Passphrase, Warn: s.Warn, Shared: &s.shared, KeepAlive: s.KeepAlive, Aside: aside,
	})
}

func (s *sshLauncher) launch(ctx context.Context, n hostfile.Node, aside func(func())) (*sshConn, error) {
	client, err := s.dial(ctx, n, aside)
	if err != nil {
		return nil, err
	}
	conn, err := s.become(ctx, client)
	if err != nil {
		client.Close()
		return nil, err
	}
	conn.again = func(ctx context.Context) (*ssh.Client, error) { return s.dial(ctx, n, nil) }
	return conn, nil
}

// become starts the shell and makes it an agent.
func (s *sshLauncher) become(ctx context.Context, client *ssh.Client) (*sshConn, error) {
	session, err := client.Start(ctx, enterShell)
	if err != nil {
		return nil, err
	}
	// Closing the session alone would wait for a command there that does not end.
	limit := newDeadline(ctx, bootstrapTime, func() { client.Close() })
	r, err := bootstrap(ctx, session, limit.move)
	if inTime := limit.end(); err != nil {
		session.Close()
		return nil, explain(ctx, client, session, err, inTime)
	}
	return &sshConn{r: r, session: session, client: client}, nil
}

// explain says why the bootstrap failed, as close to the root as is known.
func explain(ctx context.Context, client *ssh.Client, session *ssh.Session, err error, inTime bool) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !inTime:
		printed := ""
		if noise, ok := errors.AsType[*noiseError](err); ok {
			printed = noise.printed()
		}
		err = fmt.Errorf("no answer from /bin/sh for %v%s: does a start-up file of the login shell hang?", bootstrapTime, printed)
	case client.Err() != nil:
		return client.Err()
	case errors.Is(err, io.EOF):
		awaitLastWords(session)
	}
	if said := lastLine(session.Stderr()); said != "" {
		err = fmt.Errorf("%w (%s)", err, said)
	}
	return err
}

// sshConn is the connection to an agent through an ssh session.
type sshConn struct {
	r       io.Reader // of the session, behind the bootstrap
	session *ssh.Session
	client  *ssh.Client
	again   func(context.Context) (*ssh.Client, error) // makes another connection to the host
}

// Read reads from the agent. At the end of the stream the error says what is known of the cause.
func (c *sshConn) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err == nil {
		return n, nil
	}
	if lost := c.client.Err(); lost != nil && !errors.Is(lost, net.ErrClosed) {
		if e, ok := errors.AsType[*ssh.Error](lost); ok {
			lost = fmt.Errorf("%s: %w", e.Phase, e.Err)
		}
		return n, lost
	}
	if err != io.EOF {
		return n, err
	}
	awaitLastWords(c.session)
	if said := lastLine(c.session.Stderr()); said != "" {
		return n, fmt.Errorf("its agent is gone: %s", said)
	}
	return n, err
}

// awaitLastWords waits for what a command has still to say when its output has ended.
func awaitLastWords(session *ssh.Session) {
	select {
	case <-session.Done():
	case <-time.After(statusPatience):
	}
}

func (c *sshConn) Write(b []byte) (int, error) { return c.session.Write(b) }

// closeTime is how long the word to the agent that it is given up may take: a host that is gone takes nothing, and while
// the connection is not closed nobody hears that the node is lost.
const closeTime = time.Second

// Close ends the agent and the connection.
func (c *sshConn) Close() error {
	defer time.AfterFunc(closeTime, func() { c.client.Close() }).Stop()
	c.session.Close()
	return c.client.Close()
}

// Quiet is for how long nothing has come from the host, be it of the agent or of sshd.
func (c *sshConn) Quiet() time.Duration { return c.client.Quiet() }

// Segments counts the packets of the host, also of one that does not hear us and says the same again and again.
func (c *sshConn) Segments() (n uint32, ok bool) { return c.client.Segments() }

// Peer is the other end of the connection; nil through a jump host.
func (c *sshConn) Peer() net.Addr { return c.client.RemoteAddr() }

// Broken says whether the connection itself has ended, not only the agent.
func (c *sshConn) Broken() bool { return c.client.Err() != nil }

// BootID asks the host anew which boot it lives in, as its agent would say.
func (c *sshConn) BootID(ctx context.Context) (string, error) {
	client, err := c.again(ctx)
	if err != nil {
		return "", err
	}
	defer client.Close()
	defer context.AfterFunc(ctx, func() { client.Close() })()
	session, err := client.Start(ctx, "cat /proc/sys/kernel/random/boot_id && readlink /proc/self/ns/net")
	if err != nil {
		return "", err
	}
	said, err := io.ReadAll(io.LimitReader(session, 1<<10))
	return strings.Join(strings.Fields(string(said)), " "), err
}

// Login is who we are there, and the key of the host.
func (c *sshConn) Login() string { return c.client.Login() }

// LocalAddr is our end of the connection; nil through a jump host.
func (c *sshConn) LocalAddr() net.Addr { return c.client.LocalAddr() }

// lastLine is the last line of text, or that in which a Go program says why it crashes.
func lastLine(text string) string {
	if at := strings.Index("\n"+text, "\nfatal error: "); at >= 0 {
		text, _, _ = strings.Cut(text[at:], "\n")
	}
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
