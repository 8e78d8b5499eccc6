package comm

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// Comm is one rank of a job and its way to the others. Its methods are safe for concurrent use.
type Comm struct {
	job   string
	rank  int
	role  place.Role
	ranks atomic.Pointer[roster] // what it points to does not change
	fns   []*function
	up    port // to the hub
	since time.Time

	maxTasks, maxBytes int // how many tasks, and bytes of their arguments, may wait

	mu       sync.Mutex // guards the fields below
	slots    []int      // tasks that each rank runs at once; 0 for those that are lost
	epoch    uint64     // of the last membership heard of
	wanted   wanted     // calls of SetSlots under way
	calls    table[*call]
	bytes    int           // of the arguments of calls
	room     chan struct{} // closed when there is room for calls again; nil if nobody waits
	live     int           // calls that have not ended
	thens    int           // callbacks that are to come
	changed  chan struct{} // closed when live or thens is 0, or those of a group; nil if nobody waits
	groups   map[string]*group
	scopes   map[scopeKey]*scope
	idle     *scope        // the last scope to lose its last call, kept for the next
	parts    assembler     // of results, runs and messages
	err      error         // why nothing can be submitted any more
	tallies  []*tally      // by index of the function; nil for those without tasks
	ranTasks []rankTally   // by rank
	broken   chan struct{} // closed with err set, but for ErrClosed
	bye      chan struct{} // closed when the hub says bye
	closed   atomic.Bool   // Close has been called

	server    server
	mail      mailbox
	blobs     blobs
	memo      memo
	then      series // callbacks
	questions questions
	bells     sync.Pool                                // of *bell; not shared, since channels stay in their synctest bubble
	left      atomic.Bool                              // the agent link is no longer needed
	kill      func(t *running, ended cause, err error) // ends this process because of a task; nil where that must not be
	orphaned  func(why string)                         // tells the agent, if there is one, that the hub is gone before the job
	launched  place.Job                                // that this process has launched; nil: it has not
	cleanup   func(err error)                          // ends link, hub and agent link; err: why it does not end in order
}

// A port is where frames go: a link, or within rank 0 from the rank to the hub and back. Its methods never block.
type port interface {
	// send takes a frame of any length. A payload of up to lentLen bytes is only lent, a longer one is given away.
	send(h frame.Header, payload []byte)
	// flush lets go what was sent, nudge does so soon, after more may have been sent.
	flush()
	nudge()
}

// Node is a machine of the job.
type Node struct {
	Name  string // host, as the user spelt it
	Ranks []int
	Slots int // tasks that its ranks run at once
}

// newComm makes a rank that is not connected yet.
func newComm(p place.Place, role place.Role, s settings, fns []*function) *Comm {
	c := &Comm{
		job: p.Job, rank: p.Rank, role: role, slots: slices.Clone(p.Slots), fns: fns,
		since: time.Now(), maxTasks: s.maxTasks, maxBytes: s.maxBytes,
		groups: make(map[string]*group), scopes: make(map[scopeKey]*scope),
		tallies: make([]*tally, len(fns)), ranTasks: make([]rankTally, p.Size),
		broken: make(chan struct{}), bye: make(chan struct{}),
		orphaned: func(string) {},
	}
	c.ranks.Store(&roster{node: p.NodeOf, nodes: p.Nodes})
	if s.slots >= 0 {
		c.slots[p.Rank] = s.slots
	}
	c.server.init(c)
	c.mail.init(c, s.maxUnread)
	c.memo.init(c)
	c.blobs.init(c, sharedDir(&p))
	return c
}

// Rank returns this rank's number, from 0.
func (c *Comm) Rank() int { return c.rank }

// Size returns how many ranks the job has. It only changes by AddNodes.
func (c *Comm) Size() int { return len(c.ranks.Load().node) }

// Slots returns how many tasks the whole job runs at once.
func (c *Comm) Slots() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, s := range c.slots {
		n += s
	}
	return n
}

// Nodes returns the machines of the job with their ranks.
func (c *Comm) Nodes() []Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.ranks.Load()
	nodes := make([]Node, len(all.nodes))
	for i, name := range all.nodes {
		nodes[i].Name = name
	}
	for rank, n := range all.node {
		nodes[n].Ranks = append(nodes[n].Ranks, rank)
		nodes[n].Slots += c.slots[rank]
	}
	return slices.DeleteFunc(nodes, func(n Node) bool { return len(n.Ranks) == 0 || all.removed[n.Ranks[0]] })
}

// nodeName returns the host of a rank.
func (c *Comm) nodeName(rank int) string {
	all := c.ranks.Load()
	return all.nodes[all.node[rank]]
}

// receive takes a frame from the hub; the payload is lent or given as port.send has it. It never blocks.
// The error is a breach of the protocol.
func (c *Comm) receive(h frame.Header, payload []byte) error {
	switch h.Kind {
	case kindResult:
		return c.finish(h, payload)
	case kindRun:
		whole, ok, err := c.assemble(h, payload)
		if !ok {
			return err
		}
		return c.server.enqueue(h, whole)
	case kindOffer:
		return c.offered(h, payload)
	case kindCancel:
		c.server.cancel(h.ID)
		c.blobs.withdraw(h.ID)
	case kindFetch, kindPiece, kindMissing, kindRelease, kindForget:
		return c.blobs.receive(h, payload)
	case kindMessage:
		whole, ok, err := c.assemble(h, payload)
		c.mail.arrived(int(h.Src), messageCost+len(payload))
		if err != nil { // the sender's fault, not the hub's
			c.mail.lose(&LostError{Rank: int(h.Src), Node: c.nodeName(int(h.Src)), Reason: err.Error()})
		}
		if !ok {
			return nil
		}
		c.mail.put(int(h.Src), h.ID, whole)
	case kindAsk:
		c.asked(int(h.Src), h.ID, payload)
	case kindAnswer:
		c.questions.answered(h.ID, answer{int(h.Src), string(payload)})
	case kindAck:
		c.mail.acked(int(h.Src), int(h.ID))
	case kindLost:
		lost := new(LostError)
		if err := cborDec.Unmarshal(payload, lost); err != nil {
			return err
		}
		c.fail(lost)
	case kindMembers:
		var news membership
		if err := cborDec.Unmarshal(payload, &news); err != nil {
			return err
		}
		return c.update(news)
	case kindBeat:
	case kindBye:
		select {
		case <-c.bye:
			return errors.New("a second bye")
		default:
			close(c.bye)
		}
	default:
		return fmt.Errorf("a frame of kind %d out of turn", h.Kind)
	}
	return nil
}

func (c *Comm) assemble(h frame.Header, payload []byte) ([]byte, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parts.add(h, payload)
}

// complain writes a line of pprun's own to stderr.
func complain(format string, args ...any) { fmt.Fprintf(os.Stderr, "pprun: "+format+"\n", args...) }
