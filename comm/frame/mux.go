package frame

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"
)

// A Mux carries streams of bytes over a connection of frames. The ends of a stream grant each other credit, and what one
// has not been granted it does not send: a stream whose bytes nobody takes holds up no other, and what waits for it is
// bounded. Four kinds follow each other, from the one that NewMux is given:
//
//	open    by whoever gives the stream its ID, from 1; one of two peers opens streams, the other takes them
//	bytes   at most StreamLen
//	credit  u32, big-endian: bytes that may be sent further; the first is the answer to open
//	close   after the last byte, or in place of the first credit. Text: why, if it is to be told. ID 0: of all streams
//	        of Src, which is lost
//
// Src and Dst are peers, of which a connection may reach several. Whoever does not know a stream drops the frame.
type Mux struct {
	base Kind
	send func(h Header, b []byte) error
	work sync.WaitGroup // of streams, until they are closed

	mu      sync.Mutex // guards the fields below
	self    uint32
	streams map[streamKey]*Stream
	last    uint64 // ID that this end has given
	window  int    // credit for each stream
	most    int    // of them
	shut    bool
}

type streamKey struct {
	peer uint32
	id   uint64
}

// Kinds of a Mux, after its base.
const (
	streamOpen Kind = iota
	streamBytes
	streamCredit
	streamClose
)

const (
	StreamLen      = 32<<10 - HeaderLen // longest payload of bytes: with its header a whole packet of ssh
	streamTotal    = 4 << 20            // bytes that may be on their way to an end, beyond what minWindow takes
	maxWindow      = 512 << 10          // of one stream
	minWindow      = 16 << 10           // of one stream
	maxCloseReason = 4 << 10
)

// StreamLimits adds the kinds of a Mux to l.
func StreamLimits(l Limits, base Kind) Limits {
	l[base+streamOpen], l[base+streamBytes] = NoPayload, StreamLen
	l[base+streamCredit], l[base+streamClose] = 4, maxCloseReason
	return l
}

// NewMux makes an end of a Mux, whose kinds begin with base. send sends b as a frame: it begins with HeaderLen bytes of room
// for the header, and is the Mux's again when send returns. It may block while the connection takes nothing.
func NewMux(base Kind, send func(h Header, b []byte) error) *Mux {
	return &Mux{base: base, send: send, streams: make(map[streamKey]*Stream)}
}

// Begin lets streams begin, of which there will be about n, at an end that is called self.
func (m *Mux) Begin(self uint32, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self = self
	m.window = max(minWindow, min(maxWindow, streamTotal/n))
	m.most = 2*n + 64 // who opened one may try again before the old stream is gone
}

var errNoStream = errors.New("the job ends, or there are too many streams")

// Open opens a stream to a peer. It returns once the peer has answered, or ctx has ended.
func (m *Mux) Open(ctx context.Context, peer uint32) (*Stream, error) {
	m.mu.Lock()
	m.last++
	key := streamKey{peer, m.last}
	m.mu.Unlock()
	s := m.add(key)
	if s == nil {
		return nil, errNoStream
	}
	s.tell(streamOpen, nil)
	s.Accept()
	defer context.AfterFunc(ctx, func() { s.end(context.Cause(ctx).Error(), false) })()
	if why, ok := s.answered(); !ok {
		go s.Close() // which may have to wait until the connection takes the word, or ends
		return nil, errors.New(cmp.Or(why, "the other end has left"))
	}
	return s, nil
}

// add makes a stream; nil if there may be none.
func (m *Mux) add(key streamKey) *Stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shut || len(m.streams) >= m.most || m.streams[key] != nil || key.id == 0 {
		return nil
	}
	s := m.newStream(key)
	m.streams[key] = s
	m.work.Add(1)
	return s
}

// remove forgets a stream that is closed.
func (m *Mux) remove(s *Stream) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.streams[s.key] == s {
		delete(m.streams, s.key)
		m.work.Done()
	}
}

// Len is the number of streams that are not closed.
func (m *Mux) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.streams)
}

// Take takes a frame of the Mux's kinds. It blocks at most to refuse a stream that is one too many. A stream that a peer has
// opened is returned: the caller calls its Accept or Refuse.
func (m *Mux) Take(h Header, payload []byte) *Stream {
	key := streamKey{h.Src, h.ID}
	if h.Kind == m.base+streamOpen {
		s := m.add(key)
		if s == nil {
			m.newStream(key).tell(streamClose, nil)
		}
		return s
	}
	m.mu.Lock()
	s := m.streams[key]
	m.mu.Unlock()
	switch kind := h.Kind - m.base; {
	case kind == streamClose && h.ID == 0:
		m.lose(h.Src)
	case s == nil: // it has ended
	case kind == streamBytes:
		s.put(payload)
	case kind == streamCredit && len(payload) == 4:
		s.fill(binary.BigEndian.Uint32(payload))
	case kind == streamClose:
		s.end(string(payload), true)
	}
	return nil
}

// lose ends the streams of a peer that is lost.
func (m *Mux) lose(peer uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, s := range m.streams {
		if key.peer == peer {
			s.end("the other end is lost", true)
		}
	}
}

// End ends all streams, as if their other ends had closed them; no other begins.
func (m *Mux) End() {
	for _, s := range m.all() {
		s.end("the connection has ended", true)
	}
}

// Abandon ends all streams at once, whatever is under way; no other begins.
func (m *Mux) Abandon() {
	for _, s := range m.all() {
		s.abandon()
	}
}

// all are the streams, which from now on are all there ever will be.
func (m *Mux) all() []*Stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shut = true
	return slices.Collect(maps.Values(m.streams))
}

// Wait waits until all streams are closed.
func (m *Mux) Wait() { m.work.Wait() }
