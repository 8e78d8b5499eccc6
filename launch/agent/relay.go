package agent

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// relays are the streams that travel through the launcher: links to the hub, of ranks here, or, on the node of rank 0, of
// ranks elsewhere.
type relays struct {
	conn *Conn
	turn sync.Mutex // held while bytes are sent: all else that is to be sent waits for one frame at most

	mu     sync.Mutex // guards the fields below
	all    map[relayKey]*relay
	last   uint64 // number that this node has given
	window int    // credit for each stream
	most   int    // of them
	node   uint32 // this one
	shut   bool
	work   sync.WaitGroup // of streams, each until run returns
}

type relayKey struct {
	peer uint32 // the node at the other end
	id   uint64
}

// relay is one stream. Its ends grant each other credit: what one has not been granted it does not send.
type relay struct {
	of  *relays
	key relayKey

	mu     sync.Mutex // guards the fields below
	more   *sync.Cond
	credit int      // bytes that the other end takes
	room   int      // bytes that the other end may still send
	in     []byte   // bytes that have come
	spent  int      // bytes that have gone on, for which the other end gets new credit
	conn   net.Conn // to the rank or the hub; nil before run
	closed bool     // by either end
	told   bool     // the other end knows
	left   bool     // by abandon
	why    string
}

const (
	relayTotal     = 4 << 20   // bytes that may be on their way to a node, beyond what minRelayWindow takes
	maxRelayWindow = 512 << 10 // of one stream
	minRelayWindow = 16 << 10  // of one stream
)

// begin makes relays possible, for a job of so many ranks.
func (s *relays) begin(conn *Conn, node, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.node, s.all = conn, uint32(node), make(map[relayKey]*relay)
	s.window = max(minRelayWindow, min(maxRelayWindow, relayTotal/size))
	s.most = 2*size + 64 // a rank may try again before the old stream is gone
}

// add makes a stream, which run has to end; nil if there may be none.
func (s *relays) add(key relayKey) *relay {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut || len(s.all) >= s.most || s.all[key] != nil {
		return nil
	}
	if key.id == 0 {
		s.last++
		key.id = s.last
	}
	r := &relay{of: s, key: key}
	r.more = sync.NewCond(&r.mu)
	s.all[key] = r
	s.work.Add(1)
	return r
}

func (s *relays) find(h frame.Header) *relay {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[relayKey{h.Src, h.ID}]
}

// abandon ends all streams; no other begins.
func (s *relays) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
	for _, r := range s.all {
		r.abandon()
	}
}

// close does so, and waits for them.
func (s *relays) close() {
	s.abandon()
	s.work.Wait()
}

// take handles a frame of a stream. It never blocks. Nothing in it is the launcher's fault, which has not looked at it.
func (s *relays) take(h frame.Header, payload []byte) {
	r := s.find(h)
	switch {
	case h.Kind == KindRelayClose && h.ID == 0:
		s.lose(h.Src)
	case r == nil: // a stream that has ended
	case h.Kind == KindRelayBytes:
		r.put(payload)
	case h.Kind == KindRelayCredit && len(payload) == 4:
		r.fill(binary.BigEndian.Uint32(payload))
	case h.Kind == KindRelayClose:
		r.end(string(payload), true)
	}
}

// lose ends the streams of a node that is lost.
func (s *relays) lose(peer uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, r := range s.all {
		if key.peer == peer {
			r.end("its agent is lost", true)
		}
	}
}

// relay carries a link of a rank to the hub.
func (a *agent) relay(k *place.Asker, hub int) {
	r := a.relays.add(relayKey{peer: uint32(hub)})
	if r == nil {
		k.Refuse("no relay: the job ends, or there are too many")
		return
	}
	r.send(KindRelayOpen, nil)
	r.grant(a.relays.window)
	if why, ok := r.opened(); !ok {
		k.Refuse("no relay: " + why)
		r.run(nil)
		return
	}
	conn, err := k.Relay()
	if err != nil { // reading will fail as well
		a.note("agent on %s: relay of rank %d: %v", a.host, k.Ask.Rank, err)
	}
	r.run(conn)
}

// openRelay carries a link to the hub here of a rank elsewhere.
func (a *agent) openRelay(h frame.Header) {
	r := a.relays.add(relayKey{h.Src, h.ID})
	if r == nil {
		r = &relay{of: &a.relays, key: relayKey{h.Src, h.ID}}
		a.send(r.header(KindRelayClose), nil)
		return
	}
	go func() {
		<-a.started // then the hub's socket is there
		conn, err := a.hub.dial(a.life)
		if err != nil {
			r.end(err.Error(), false)
			r.run(nil)
			return
		}
		r.grant(a.relays.window)
		r.run(conn)
	}()
}

// dial connects to the hub, as one who relays.
func (h *hub) dial(ctx context.Context) (net.Conn, error) {
	if h.relayPath == "" {
		return nil, errors.New("rank 0 does not run")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", h.relayPath)
	if err != nil {
		return nil, fmt.Errorf("rank 0 is gone: %w", err)
	}
	return conn, nil
}

func (r *relay) header(kind frame.Kind) frame.Header {
	return frame.Header{Kind: kind, Src: r.of.node, Dst: r.key.peer, ID: r.key.id}
}

func (r *relay) send(kind frame.Kind, payload []byte) {
	r.of.conn.Send(r.header(kind), payload)
}

// opened waits until the other end has answered.
func (r *relay) opened() (why string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.credit == 0 && !r.closed {
		r.more.Wait()
	}
	return cmp.Or(r.why, "rank 0 has left the job"), !r.closed
}

// run carries bytes between conn and the other end until one of them ends the stream. conn may be nil if that has
// happened.
func (r *relay) run(conn net.Conn) {
	if conn != nil && r.hold(conn) {
		var out sync.WaitGroup
		out.Go(func() { r.out(conn) })
		r.into(conn)
		conn.Close()
		out.Wait()
	}
	r.end("", false)
	r.mu.Lock()
	told, why := r.told, r.why
	r.mu.Unlock()
	if !told {
		r.send(KindRelayClose, []byte(why))
	}
	r.of.mu.Lock()
	delete(r.of.all, r.key)
	r.of.mu.Unlock()
	r.of.work.Done()
}

// hold makes abandon close conn. It returns false, with conn closed, if it was called before.
func (r *relay) hold(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left {
		conn.Close()
		return false
	}
	r.conn = conn
	return true
}

// out sends what conn brings.
func (r *relay) out(conn io.Reader) {
	b := make([]byte, frame.HeaderLen+RelayLen)
	for {
		n := r.mayTake()
		if n == 0 {
			return
		}
		n, err := conn.Read(b[frame.HeaderLen : frame.HeaderLen+n])
		if n > 0 {
			r.mu.Lock()
			r.credit -= n
			r.mu.Unlock()
			r.of.turn.Lock()
			serr := r.of.conn.SendHeaded(r.header(KindRelayBytes), b[:frame.HeaderLen+n])
			r.of.turn.Unlock()
			err = errors.Join(err, serr)
		}
		if err != nil {
			r.end("", false)
			return
		}
	}
}

// mayTake waits for credit, and says how much may be read: nothing, if the stream has ended.
func (r *relay) mayTake() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.credit == 0 && !r.closed {
		r.more.Wait()
	}
	if r.closed {
		return 0
	}
	return min(r.credit, RelayLen)
}

// into writes to conn what has come, to the last byte before the end.
func (r *relay) into(conn io.Writer) {
	var b []byte
	for {
		r.mu.Lock()
		for len(r.in) == 0 && !r.closed {
			r.more.Wait()
		}
		b, r.in = r.in, b[:0]
		r.mu.Unlock()
		if len(b) == 0 {
			return
		}
		if _, err := conn.Write(b); err != nil {
			r.end("", false)
			return
		}
		r.spend(len(b))
	}
}

// spend gives the other end new credit for bytes that have gone on, not for every few.
func (r *relay) spend(n int) {
	r.spent += n
	if r.spent >= r.of.window/4 {
		r.grant(r.spent)
		r.spent = 0
	}
}

func (r *relay) grant(n int) {
	r.mu.Lock()
	r.room += n
	r.mu.Unlock()
	r.send(KindRelayCredit, binary.BigEndian.AppendUint32(nil, uint32(n)))
}

// put takes bytes from the other end.
func (r *relay) put(b []byte) {
	r.mu.Lock()
	over := len(b) > r.room
	if !over && !r.closed {
		r.room -= len(b)
		r.in = append(r.in, b...)
		r.more.Broadcast()
	}
	r.mu.Unlock()
	if over {
		r.end("more bytes than credit", false)
	}
}

// fill takes credit from the other end.
func (r *relay) fill(n uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.credit = int(min(int64(r.credit)+int64(n), maxRelayWindow))
	r.more.Broadcast()
}

// end lets run return once what has come has gone on. told: the other end knows.
func (r *relay) end(why string, told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = r.told || told
	if !r.closed {
		r.closed, r.why = true, why
		r.more.Broadcast()
	}
}

// abandon ends the stream at once, whatever is under way.
func (r *relay) abandon() {
	r.end("the job ends there", false)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
	if r.conn != nil {
		r.conn.Close()
	}
}
