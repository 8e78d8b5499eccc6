package comm

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// The hub is the part of rank 0 that all frames pass: it schedules tasks and relays the rest.
type hub struct {
	members []*member // by rank; port and link do not change once all are welcome
	node    func(rank int) string
	links   []*link
	urgent  atomic.Bool // a rank waits for what it was sent since the last flush

	mu      sync.Mutex // guards the fields below; held while whole batches of frames are handled, never across I/O
	levels  [3][]*member
	turn    int
	queue   queue           // tasks for any rank
	nested  queue           // those that running tasks wait for
	guess   []time.Duration // how long each function runs
	options optionCache
	parts   assembler // of tasks
	spare   *task     // to be used again
	spares  int
	touched []port // were sent something since they were flushed
	byes    int    // ranks that have called Close
	over    bool   // all have, or one is lost
}

// newHub makes the hub of a job; ranks join it before it is used.
func newHub(slots []int, functions int, node func(rank int) string) *hub {
	h := &hub{node: node, guess: make([]time.Duration, functions)}
	for i := range h.guess {
		h.guess[i] = maxAhead // until it is known
	}
	for rank, n := range slots {
		h.members = append(h.members, &member{rank: rank, slots: n})
	}
	return h
}

// open lists the members by load. All have their ports and slots.
func (h *hub) open() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members {
		m.level = m.measure()
		m.at = len(h.levels[m.level])
		h.levels[m.level] = append(h.levels[m.level], m)
	}
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
	case kindYield, kindResume:
		return h.yields(m, f.ID, f.Kind == kindYield)
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
	case kindMessage, kindAck, kindFetch, kindPiece, kindMissing, kindRelease, kindForget:
		return true
	}
	return false
}

// relay passes a frame on from rank to rank. It returns where it went.
func (h *hub) relay(f frame.Header, payload []byte) (port, error) {
	if int64(f.Dst) >= int64(len(h.members)) {
		return nil, fmt.Errorf("a message for rank %d of %d", f.Dst, len(h.members))
	}
	to := h.members[f.Dst].port
	to.send(f, payload)
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
	if h.byes < len(h.members) || h.over {
		return nil
	}
	h.over = true
	h.broadcast(frame.Header{Kind: kindBye}, nil)
	return nil
}

// lose ends the job: a rank is lost.
func (h *hub) lose(m *member, reason string) {
	if h.over {
		return
	}
	h.over = true
	b, err := cborEnc.Marshal(LostError{Rank: m.rank, Node: h.node(m.rank), Reason: reason})
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	h.broadcast(frame.Header{Kind: kindLost}, b)
}

func (h *hub) broadcast(f frame.Header, payload []byte) {
	for _, m := range h.members {
		f.Dst = uint32(m.rank)
		m.port.send(f, payload)
		h.touch(m)
	}
	h.urgent.Store(true)
}

// finish ends the links: in order the other ranks close them, having read the bye.
func (h *hub) finish(readers *sync.WaitGroup, err error) {
	h.flush()
	hurry := lingerTime
	if err != nil {
		hurry = 100 * time.Millisecond // enough for them to hear of it
	}
	timer := time.AfterFunc(hurry, func() {
		for _, l := range h.links {
			l.conn.Close()
		}
	})
	readers.Wait()
	timer.Stop()
	for _, l := range h.links {
		l.close()
	}
}
