package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"sync"
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
	p, err := c.server.startAgent()
	if err != nil {
		c.server.log.Error("client not served", "address", c.from, "why", err)
		return err.Error()
	}
	defer p.conn.Close()
	defer p.ledger.Close()
	var in sync.WaitGroup // all but what the agent says
	in.Go(func() {
		io.Copy(p.conn, c.conn)
		p.conn.CloseWrite() // the end of its input is the agent's order to end everything
	})
	in.Go(func() { c.read(p.ledger) })
	in.Go(func() {
		err = p.wait()
		late := time.Now().Add(lastWords)
		c.conn.SetDeadline(late) // a client that takes nothing keeps us no longer
		p.ledger.SetReadDeadline(late)
	})
	io.Copy(c.conn, p.conn)
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
