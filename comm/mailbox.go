package comm

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

const (
	messageWindow = 4 << 20           // message bytes under way from one rank to another
	ackEvery      = messageWindow / 8 // bytes after which a receiver opens the window again
	messageCost   = 64                // what a message or a part of one counts beside its bytes: empty ones take memory too
)

// A mailbox holds the messages that have arrived and were not asked for yet, and the windows of those under way. It
// never makes the reader wait: MPI calls it the queue of unexpected messages.
type mailbox struct {
	comm      *Comm
	maxUnread int

	mu     sync.Mutex
	boxes  map[boxKey]*box
	unread int            // bytes in all boxes, with messageCost for each message
	err    error          // why nothing comes any more
	lost   []error        // why nothing comes from a rank, or goes to it
	broken chan struct{}  // closed and made anew when one of them is set: who waits looks again
	sent   []int          // bytes under way, by destination
	heard  []int          // bytes arrived and not acknowledged, by source
	opened chan struct{}  // closed when a window opens; nil if nobody waits
	order  [64]sync.Mutex // by destination and tag: keeps the frames of two messages apart
}

type boxKey struct {
	src int
	tag uint64
}

type box struct {
	messages [][]byte
	waiting  int           // receivers
	since    time.Duration // uptime when the first of them came
	filled   chan struct{} // has room for one: a message was put
}

func (b *mailbox) init(c *Comm, maxUnread int) {
	b.comm, b.maxUnread = c, maxUnread
	b.boxes = make(map[boxKey]*box)
	b.broken = make(chan struct{})
	b.grow(c.Size())
}

// grow makes room for so many ranks.
func (b *mailbox) grow(size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := size - len(b.lost)
	b.lost = append(b.lost, make([]error, n)...)
	b.sent, b.heard = append(b.sent, make([]int, n)...), append(b.heard, make([]int, n)...)
}

// reserve waits until the window to dst has room.
func (b *mailbox) reserve(ctx context.Context, dst, n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.failure(dst) == nil && b.sent[dst] > 0 && b.sent[dst]+n > messageWindow {
		if b.opened == nil {
			b.opened = make(chan struct{})
		}
		opened, broken := b.opened, b.broken
		b.mu.Unlock()
		b.comm.up.flush()
		var err error
		select {
		case <-opened:
		case <-broken:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		b.mu.Lock()
		if err != nil {
			return err
		}
	}
	if err := b.failure(dst); err != nil {
		return err
	}
	b.sent[dst] += n
	return nil
}

// failure is why nothing comes from a rank or goes to it. b.mu is held.
func (b *mailbox) failure(rank int) error {
	if b.err != nil {
		return b.err
	}
	return b.lost[rank]
}

// acked opens the window to dst again.
func (b *mailbox) acked(dst, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[dst] -= min(n, b.sent[dst])
	if b.opened != nil {
		close(b.opened)
		b.opened = nil
	}
}

// arrived acknowledges bytes as they come, not as they are asked for: what is not asked for is bounded by maxUnread.
func (b *mailbox) arrived(src, n int) {
	b.mu.Lock()
	b.heard[src] += n
	heard := b.heard[src]
	if heard < ackEvery {
		b.mu.Unlock()
		return
	}
	b.heard[src] = 0
	b.mu.Unlock()
	b.comm.up.send(frame.Header{Kind: kindAck, Src: uint32(b.comm.rank), Dst: uint32(src), ID: uint64(heard)}, nil)
	b.comm.up.nudge()
}

// put stores a message, lent or given.
func (b *mailbox) put(src int, tag uint64, message []byte) {
	if len(message) <= lentLen {
		message = append(make([]byte, 0, len(message)), message...)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	x := b.box(src, tag)
	x.messages = append(x.messages, message)
	b.unread += messageCost + len(message)
	if alone := b.unread == messageCost+len(message); b.unread > b.maxUnread && !alone {
		c := b.comm
		go c.Abort(fmt.Errorf("more than %d bytes of messages have arrived and were not received, "+
			"the last from rank %d under tag %#x: receive them, or send less at once", b.maxUnread, src, tag))
	}
	x.ring()
}

// ring wakes a receiver.
func (x *box) ring() {
	select {
	case x.filled <- struct{}{}:
	default:
	}
}

// box returns the box of a source and tag. b.mu is held.
func (b *mailbox) box(src int, tag uint64) *box {
	key := boxKey{src, tag}
	x := b.boxes[key]
	if x == nil {
		x = &box{filled: make(chan struct{}, 1)}
		b.boxes[key] = x
	}
	return x
}

func (b *mailbox) take(ctx context.Context, src int, tag uint64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.box(src, tag)
	if x.waiting++; x.waiting == 1 {
		x.since = uptime()
	}
	defer func() {
		x.waiting--
		switch {
		case len(x.messages) > 0:
			x.ring() // for another receiver
		case x.waiting == 0:
			delete(b.boxes, boxKey{src, tag})
		}
	}()
	for len(x.messages) == 0 && b.failure(src) == nil {
		broken := b.broken
		b.mu.Unlock()
		b.comm.up.flush()
		var err error
		select {
		case <-x.filled:
		case <-broken:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		b.mu.Lock()
		if err != nil {
			return nil, err
		}
	}
	if len(x.messages) == 0 {
		return nil, b.failure(src)
	}
	message := x.messages[0]
	x.messages[0] = nil
	x.messages = x.messages[1:]
	b.unread -= messageCost + len(message)
	return message, nil
}

// explain says what receivers wait for, the longest first.
func (b *mailbox) explain() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var waiting []boxKey
	for key, x := range b.boxes {
		if x.waiting > 0 && len(x.messages) == 0 {
			waiting = append(waiting, key)
		}
	}
	slices.SortFunc(waiting, func(k, l boxKey) int { return cmp.Compare(b.boxes[k].since, b.boxes[l].since) })
	var all []string
	for _, key := range waiting {
		how := fmt.Sprintf("with tag %d", key.tag)
		if int64(key.tag) < 0 {
			how = "in a collective"
		}
		all = append(all, fmt.Sprintf("a message from rank %d %s for %v", key.src, how, age(b.boxes[key].since)))
	}
	return all
}

func (b *mailbox) error() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// fail ends all waiting.
func (b *mailbox) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
		b.wake()
	}
}

// wake has all who wait look again. b.mu is held.
func (b *mailbox) wake() {
	close(b.broken)
	b.broken = make(chan struct{})
}

// lose ends what waits for a rank. What has come from it may still be received, until it is back.
func (b *mailbox) lose(lost *LostError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost[lost.Rank] = lost
	b.sent[lost.Rank], b.heard[lost.Rank] = 0, 0
	b.wake()
}

// regain forgets a rank's earlier incarnation, whose messages the present one knows nothing of.
func (b *mailbox) regain(rank int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost[rank] = nil
	for key, x := range b.boxes {
		if key.src != rank {
			continue
		}
		for _, message := range x.messages {
			b.unread -= messageCost + len(message)
		}
		x.messages = nil
		if x.waiting == 0 {
			delete(b.boxes, key)
		}
	}
}
