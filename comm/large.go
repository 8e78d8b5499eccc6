package comm

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// An argument longer than inlineLen stays with the rank that submits, until the task has ended, and the rank that runs
// the task fetches it. Such a result stays with the rank that ran the task:
//
//	runner     hub        submitter
//	  | offer ->|-> offer ->|
//	  |<-- fetch, piece --->|     as often as needed
//	  |<--------- release --|
//	  | result >|-> result >|     empty; only now the run has ended
//
// So the hub, which has the task until then, can redo it when the runner is lost on the way.

// A largeCall is what a call has to do with blobs.
type largeCall struct {
	argument *blob   // its own; nil if it is short, or is
	repeat   *repeat // one that came before
	stop     context.CancelFunc
	result   []byte // fetched
	from     int    // rank that offered the result; -1: none has, or it is not here yet
}

// largeOf returns what k has to do with blobs. s.mu is held.
func (s *blobs) largeOf(k *call) *largeCall {
	k.large = true
	l := s.large[k]
	if l == nil {
		l = &largeCall{from: -1, stop: func() {}}
		s.large[k] = l
	}
	return l
}

// keepArgument holds the argument, from at on, of a payload that is too long to travel, and returns what travels instead.
func (s *blobs) keepArgument(k *call, payload []byte, at int) ([]byte, error) {
	x, err := s.hold(payload[at:], nil)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.largeOf(k).argument = x
	k.flags |= flagBlob
	return x.ref.append(slices.Clone(payload[:at])), nil
}

// done lets go of what a call needed that has ended. The Comm's mu may be held.
func (s *blobs) done(k *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.large[k]
	if l == nil || s.err != nil {
		return
	}
	delete(s.large, k)
	l.stop()
	if l.argument != nil {
		s.held.remove(l.argument.ref.id)
	}
	if l.repeat != nil {
		s.unuse(l.repeat)
	}
}

// argument gets the argument of a task that came without. given: it belongs to the caller.
func (s *blobs) argument(ctx context.Context, flags byte, name []byte) (b []byte, given bool, err error) {
	ref, err := parseBlobRef(name)
	if err != nil {
		return nil, false, err
	}
	if flags&flagShared == 0 {
		b, err = s.fetch(ctx, ref)
		return b, ref.owner != s.comm.rank, err
	}
	v, err := s.comm.memo.get(ctx, argumentKey{ref.digest, ref.owner}, func(ctx context.Context) (any, error) { return s.shared(ctx, ref) })
	if err != nil {
		return nil, false, err
	}
	return v.([]byte), false, nil
}

// An argumentKey names in the memo an argument that many tasks need.
type argumentKey struct {
	digest digest
	owner  int
}

// offer holds the result of a run for the rank that submitted the task. The run ends when that has it, or wants it no more.
func (s *blobs) offer(t *running, result []byte, ran time.Duration) error {
	c := s.comm
	end := frame.Header{Kind: kindResult, Flags: flagTaken, Src: uint32(c.rank), Dst: t.src, ID: t.id}
	x, err := s.hold(result, func() {
		s.mu.Lock()
		delete(s.offers, t.id)
		s.mu.Unlock()
		head := make([]byte, resultHeadLen)
		putResultHead(head, resultHead{status: statusOK, attempt: t.life.attempt, ran: ran})
		c.up.send(end, head)
		c.up.flush()
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.offers[t.id] = x.ref
	s.mu.Unlock()
	c.up.send(frame.Header{Kind: kindOffer, Src: uint32(c.rank), Dst: t.src, ID: t.id}, x.ref.append(nil))
	return nil
}

// withdraw ends a run whose result nobody wants any more. It sends nothing itself: the hub's mu may be held.
func (s *blobs) withdraw(run uint64) {
	s.mu.Lock()
	ref, ok := s.offers[run]
	s.mu.Unlock()
	if ok {
		s.release(ref.id, ref.digest)
	}
}

// collect fetches the result of a call from the rank that offers it. The Comm's mu is held.
func (s *blobs) collect(k *call, ref blobRef) {
	ctx, stop := context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		stop()
		return
	}
	l := s.largeOf(k)
	l.stop() // another rank offered one, and was lost
	l.stop, l.result, l.from = stop, nil, -1
	s.work.Go(func() {
		b, err := s.fetch(ctx, ref)
		lost := new(LostError)
		switch {
		case ctx.Err() != nil || errors.As(err, &lost): // the hub has the task still, and decides
			return
		case err != nil:
			k.abandon(errorf("result of %s: %w", k.fn.name, err))
			return
		}
		s.mu.Lock()
		if ctx.Err() == nil {
			l.result, l.from = b, ref.owner
		}
		s.mu.Unlock()
		s.giveBack(ref)
	})
}

// collected returns a result that was fetched from a rank.
func (s *blobs) collected(k *call, from int) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.large[k]
	if l == nil || l.from != from {
		return nil, false
	}
	return l.result, true
}

// giveBack tells the rank that holds a blob that it is not needed any more.
func (s *blobs) giveBack(ref blobRef) {
	c := s.comm
	switch {
	case ref.owner == c.rank:
		s.release(ref.id, ref.digest)
	case ref.owner < c.Size():
		c.up.send(frame.Header{Kind: kindRelease, Src: uint32(c.rank), Dst: uint32(ref.owner), ID: ref.id}, ref.digest[:])
		c.up.flush()
	}
}

// offered takes the word that a result is there to be fetched.
func (c *Comm) offered(h frame.Header, payload []byte) error {
	ref, err := parseBlobRef(payload)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.calls.get(h.ID); ok && k.state.Load()&gone == 0 {
		c.blobs.collect(k, ref)
	}
	return nil
}
