package launch

import (
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

// node is one machine of the job and the connection to its agent. Fields without a remark belong to the job's goroutine.
type node struct {
	index   int
	host    hostfile.Node
	local   bool
	server  bool   // a ppserver brings its agent
	missing bool   // a server that did not answer, and is not needed
	login   string // user and host key; empty: this machine, or not known
	twin    *node  // the node that is this very machine by another name; nil: there is none before this one
	late    *late  // it has come while the job runs; nil: it is there from the start
	ranks   []int  // that run here

	up         bool // the agent is there
	ready      *agent.Ready
	program    *variant
	staged     int  // files that have arrived
	cached     bool // the program was there already
	listening  *agent.Listening
	able       bool           // to start its ranks, which it holds until all nodes are
	pids       []int          // of ranks; nil before they run
	socket     string         // where its ranks get their places
	running    map[int]bool   // ranks that have not ended
	failed     string         // why this node cannot take part; empty: it can
	status     int            // exit status that failed calls for
	fate       string         // how it was lost while ranks ran; empty: it was not
	guilty     bool           // its loss decides the status of the job
	leaving    bool           // it is to leave the job
	left       []chan<- error // who waits for that
	done, gone bool           // said done; connection ended
	dropped    agent.Done     // what went then
	silent     bool           // it ended because the agent said nothing
	segments   uint32         // packets of it until it fell silent
	repeats    bool           // more have come since
	probed     bool           // a new connection has been tried, since nothing is heard of it
	probe      atomic.Value   // string: what came of it; nothing: it has not ended
	copied     atomic.Int64   // bytes of the program, uncompressed, that are on their way or there
	size       int64          // of the program, if it is copied; 0: it is not
	trunk      bool           // its agent carries the links of its ranks to the hub
	relayed    string         // why its links to the hub go through us; empty: they do not

	conn   *agent.Conn
	remote remote     // the same, where it can tell more of its other end; nil: it cannot
	child  *localConn // the same, of an agent that is a process of ours; nil: it is not
	addr   net.Addr   // our end of the connection; nil when local
	work   sync.WaitGroup

	mu     sync.Mutex
	queue  []message     // guarded by mu: not yet sent
	last   []message     // guarded by mu: not yet sent, and all else goes first
	owed   int           // guarded by mu: bytes of output that are written but not yet credited
	wake   chan struct{} // something is queued
	closed chan struct{} // close was called

	closing sync.Once
}

// message is a frame on its way to an agent.
type message struct {
	frame.Header
	payload []byte
	headed  bool          // payload begins with room for the header
	value   any           // instead of payload
	sent    chan struct{} // closed once it is sent; may be nil
}

// connect takes up the connection to the node's agent, and beats there. Events go to events until the connection ends,
// which is the last.
func (n *node) connect(rwc io.ReadWriteCloser, beat time.Duration, out *output, streams *exchange, events chan<- event) {
	n.up = true
	n.conn = agent.NewConn(rwc)
	n.child, _ = rwc.(*localConn)
	n.remote, _ = rwc.(remote)
	if c, ok := rwc.(interface{ LocalAddr() net.Addr }); ok && !n.local {
		n.addr = c.LocalAddr()
	}
	if c, ok := rwc.(interface{ Login() string }); ok {
		n.login = c.Login()
	}
	n.wake, n.closed = make(chan struct{}, 1), make(chan struct{})
	n.work.Go(func() { n.read(out, streams, events) })
	n.work.Go(func() { n.write(beat) })
}

// close ends the agent, and waits for all that speaks with it.
func (n *node) close() {
	if n.conn == nil {
		return
	}
	n.closing.Do(func() {
		close(n.closed)
		n.conn.Close()
		n.work.Wait()
	})
}

// send queues a frame; it never blocks.
func (n *node) send(kind frame.Kind, id uint64) {
	n.post(message{Header: frame.Header{Kind: kind, ID: id}})
}

// sendValue queues a frame with a structured payload.
func (n *node) sendValue(kind frame.Kind, id uint64, v any) {
	n.post(message{Header: frame.Header{Kind: kind, ID: id}, value: v})
}

func (n *node) post(m message) {
	if n.conn == nil {
		return
	}
	n.mu.Lock()
	n.queue = append(n.queue, m)
	n.mu.Unlock()
	n.ring()
}

// postLast queues a frame that lets all else go first.
func (n *node) postLast(m message) {
	n.mu.Lock()
	n.last = append(n.last, m)
	n.mu.Unlock()
	n.ring()
}

func (n *node) ring() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// next is what is to be sent next.
func (n *node) next() (m message, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := &n.queue
	if len(*q) == 0 {
		q = &n.last
	}
	if len(*q) == 0 {
		return m, false
	}
	m, (*q)[0] = (*q)[0], m
	*q = (*q)[1:]
	return m, true
}

// repay gives the agent credit for output that is off our hands, not for every few bytes.
func (n *node) repay(bytes int) {
	n.mu.Lock()
	n.owed += bytes
	owed := n.owed
	if owed < agent.OutputWindow/8 {
		n.mu.Unlock()
		return
	}
	n.owed = 0
	n.mu.Unlock()
	n.send(agent.KindOutputCredit, uint64(owed))
}

// write sends what is queued, and a beat now and then.
func (n *node) write(interval time.Duration) {
	beat := time.NewTicker(interval)
	defer beat.Stop()
	for {
		for m, ok := n.next(); ok; m, ok = n.next() {
			if transmit(n.conn, m) != nil {
				return // the reader says why
			}
			if m.sent != nil {
				close(m.sent)
			}
		}
		select {
		case <-n.wake:
		case <-beat.C:
			n.send(agent.KindBeat, 0)
		case <-n.closed:
			return
		}
	}
}

// read turns frames into events. Output goes straight to its file's queue: an exit is never ahead of it.
func (n *node) read(out *output, streams *exchange, events chan<- event) {
	post := func(v any) {
		select {
		case events <- event{n, v}:
		case <-n.closed:
		}
	}
	for {
		h, payload, err := n.conn.Next()
		if err != nil {
			post(lost{err})
			return
		}
		switch h.Kind {
		case agent.KindStdout, agent.KindStderr:
			if err := out.take(n, h, payload); err != nil {
				post(lost{err})
				return
			}
			continue
		case agent.KindBeat:
			continue
		case agent.KindRelayOpen, agent.KindRelayBytes, agent.KindRelayCredit, agent.KindRelayClose:
			if err := streams.pass(n, h, payload); err != nil {
				post(lost{err})
				return
			}
			continue
		}
		v, err := decode(h, payload)
		if err != nil {
			post(lost{err})
			return
		}
		post(v)
	}
}

func transmit(c *agent.Conn, m message) error {
	switch {
	case m.value != nil:
		return c.SendValue(m.Header, m.value)
	case m.headed:
		return c.SendHeaded(m.Header, m.payload)
	}
	return c.Send(m.Header, m.payload)
}

// alive returns the ranks that have not ended, in ascending order.
func (n *node) alive() []int { return slices.Sorted(maps.Keys(n.running)) }
