package comm

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// The hub is the part of rank 0 that all frames pass: it schedules tasks and relays the rest.
type hub struct {
	comm     *Comm   // rank 0
	own      *member // the same, as the hub sees it
	node     func(rank int) string
	fns      []*function
	urgent   atomic.Bool            // a rank waits for what it was sent since the last flush
	ports    atomic.Pointer[[]port] // of the members, for relaying without mu; what it points to does not change
	readers  sync.WaitGroup         // of links; none is added once over is set
	informed bool                   // an agent tells of deaths
	missed   func(place.Missed)     // tells the agent what is heard of a rank
	report   func(place.Ran)        // tells the agent what a lost rank ran; nil: there is none

	mu      sync.Mutex // guards the fields below; held while whole batches of frames are handled, never across I/O
	members []*member  // by rank
	links   []*link
	epoch   uint64           // changes of the members' slots and presence so far
	lists   *lists           // the roster; nil: it is that of the start
	any     *pool            // of tasks that any rank may run
	nodes   []*pool          // of tasks for the ranks of a node
	pools   map[string]*pool // of tasks for a list of ranks, by the list
	key     []byte           // to look a list up, made in the same memory each time
	guess   []time.Duration  // how long each function runs
	options optionCache
	clock   time.Duration          // what now returns, 0 if it must look
	order   uint64                 // runs so far
	parts   assembler              // of tasks
	blames  map[*task][]*LostError // ranks that were lost while a task may have run there
	tallies []hubTally             // by index of the function
	late    int                    // results that came late or twice, and were dropped
	spare   *task                  // to be used again
	spares  int
	touched []port // were sent something since they were flushed
	present int    // ranks that are not lost
	byes    int    // of them, those that have called Close
	want    int    // slots of the job, if somebody has set them
	over    bool   // all have, or a rank is lost that the job cannot do without
}

// newHub makes the hub of rank 0's job; ranks join it before it is used.
func newHub(c *Comm) *hub {
	h := &hub{
		comm: c, node: c.nodeName, fns: c.fns, missed: func(place.Missed) {},
		guess: make([]time.Duration, len(c.fns)), tallies: make([]hubTally, len(c.fns)),
		pools: make(map[string]*pool), blames: make(map[*task][]*LostError),
	}
	for i := range h.guess {
		h.guess[i] = maxAhead // until it is known
	}
	for rank, n := range c.slots {
		h.members = append(h.members, &member{rank: rank, slots: n, base: n})
	}
	h.own = h.members[0]
	h.own.role = c.role
	h.any = &pool{ranks: h.members, any: true}
	all := c.ranks.Load()
	for range all.nodes {
		h.nodes = append(h.nodes, &pool{})
	}
	for rank, n := range all.node {
		m := h.members[rank]
		m.node = h.nodes[n]
		m.node.ranks = append(m.node.ranks, m)
	}
	return h
}

// open seats the members. All have their ports and slots.
func (h *hub) open() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members {
		m.level = m.measure()
		h.present++
		h.seat(m)
	}
	h.publish()
}

// member returns a rank above 0, nil if there is none.
func (h *hub) member(rank int) *member {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rank <= 0 || rank >= len(h.members) {
		return nil
	}
	return h.members[rank]
}

// seat seats a member in all the pools it is to be in.
func (h *hub) seat(m *member) {
	for _, p := range h.poolsOf(m) {
		p.seat(m)
	}
}

// publish makes the members' ports known to those who relay.
func (h *hub) publish() {
	ports := make([]port, len(h.members))
	for i, m := range h.members {
		ports[i] = m.port
	}
	h.ports.Store(&ports)
}

// receive takes a frame from a rank. h.mu is held, unless the frame is to be relayed. The error is a breach of the
// protocol.
func (h *hub) receive(m *member, f frame.Header, payload []byte) error {
	switch f.Kind {
	case kindSubmit:
		return h.submit(m, f, payload)
	case kindResult:
		return h.result(m, f, payload)
	case kindOffer:
		return h.offer(m, f, payload)
	case kindCancel:
		h.cancel(m, f.ID)
	case kindReturn:
		return h.giveBack(m, f.ID)
	case kindYield, kindResume:
		return h.yields(m, f.ID, f.Kind == kindYield)
	case kindSlots:
		return h.setSlots(f.ID)
	case kindAbort:
		h.lose(m, string(payload))
	case kindBye:
		return h.bye(m)
	default:
		return fmt.Errorf("a frame of kind %d out of turn", f.Kind)
	}
	return nil
}

// relayed says whether frames of a kind pass the hub as they are, without its lock.
func relayed(k frame.Kind) bool {
	switch k {
	case kindMessage, kindAck, kindAsk, kindAnswer, kindFetch, kindPiece, kindMissing, kindRelease, kindForget:
		return true
	}
	return false
}

// relay passes a frame on from rank to rank. It returns where it went: nil if the rank is lost, which its sender hears
// of by another frame.
func (h *hub) relay(f frame.Header, payload []byte) (port, error) {
	ports := *h.ports.Load()
	if int64(f.Dst) >= int64(len(ports)) {
		return nil, fmt.Errorf("a message for rank %d of %d", f.Dst, len(ports))
	}
	if err := checkBlobFrame(f.Kind, payload); err != nil {
		return nil, err
	}
	to := ports[f.Dst]
	if to != nil {
		to.send(f, payload)
	}
	return to, nil
}

// touch notes that a member was sent something.
func (h *hub) touch(m *member) {
	if m.link != nil && !m.link.touched {
		m.link.touched = true
		h.touched = append(h.touched, m.port)
	}
}

// untouch returns the ports that want to be flushed. h.mu is held; the flushing is done without.
func (h *hub) untouch() []port {
	ports := h.touched
	h.touched = nil
	h.urgent.Store(false)
	for _, p := range ports {
		p.(*link).touched = false
	}
	return ports
}

func (h *hub) flush() {
	h.mu.Lock()
	ports := h.untouch()
	h.mu.Unlock()
	for _, p := range ports {
		p.flush()
	}
}

// bye notes that a rank has called Close. The last one ends the job.
func (h *hub) bye(m *member) error {
	if m.bye {
		return fmt.Errorf("a second bye")
	}
	m.bye = true
	h.byes++
	h.parting()
	return nil
}

// parting ends the job once all ranks that are there have called Close.
func (h *hub) parting() {
	if h.byes < h.present || h.over {
		return
	}
	h.over = true
	h.broadcast(frame.Header{Kind: kindBye}, nil)
}

func (h *hub) broadcast(f frame.Header, payload []byte) {
	for _, m := range h.members {
		if m.lost != nil {
			continue
		}
		f.Dst = uint32(m.rank)
		m.port.send(f, payload)
		h.touch(m)
	}
	h.urgent.Store(true)
}

// linked returns the links there are.
func (h *hub) linked() []*link {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.links)
}

// finish ends the links: in order the other ranks close them, having read the bye.
func (h *hub) finish(err error) {
	h.flush()
	hurry := lingerTime
	if err != nil {
		hurry = 100 * time.Millisecond // enough for them to hear of it
	}
	h.mu.Lock()
	links := h.links // does not change any more: the job is over
	h.mu.Unlock()
	timer := time.AfterFunc(hurry, func() {
		for _, l := range links {
			l.conn.Close()
		}
	})
	h.readers.Wait()
	timer.Stop()
	for _, l := range links {
		l.close()
	}
}
