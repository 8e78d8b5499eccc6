package comm

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"
	"unsafe"
)

// An argument that comes again and again is sent to each node once. Numbers, strings and slices of numbers travel as they
// lie in memory, so that two arguments are the same if their bytes are. To find out costs little: of each argument longer
// than repeatLen some bytes are hashed. If those came before, the argument is taken for a repeated one: a copy of it
// becomes a blob. From the third time on it is compared with that copy, byte by byte, and need not even be copied. What is
// submitted is always what the argument was then.
const (
	repeatLen  = 1 << 20
	samples    = 64 // places of an argument that are looked at
	sampleLen  = 64
	maxSeen    = 64               // arguments that came once and are remembered
	maxIdle    = 256 << 20        // bytes of repeated arguments that no task needs; the last one stays in any case
	maxIdleFor = 10 * time.Second // and how long they are kept
)

// repeats are the arguments of a rank that came before. The blobs' mu guards them.
type repeats struct {
	seen []sighting // the latest last
	kept []*repeat
	trim *time.Timer // set while some are idle
}

// A sighting is an argument that came once.
type sighting struct {
	size   int
	sample uint64
	misled bool // another argument looks the same
}

// A repeat is an argument that came again.
type repeat struct {
	blob   *blob
	sample uint64
	calls  int           // that need it
	idle   time.Duration // since when there are none
}

var sampleSeed = maphash.MakeSeed()

// sample hashes some places of b, the first and the last bytes among them.
func sample(b []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(sampleSeed)
	for i := range samples {
		at := i * (len(b) - sampleLen) / (samples - 1)
		h.Write(b[at : at+sampleLen])
	}
	return h.Sum64()
}

// appendArgument appends an argument to the head of a task, or the name of a blob if it came before.
func (c *Comm) appendArgument(k *call, head []byte, arg unsafe.Pointer) ([]byte, error) {
	if view := k.fn.arg.view; view != nil {
		if b := view(arg); len(b) > repeatLen {
			if ref, ok := c.blobs.repeated(k, b); ok {
				return ref.append(head), nil
			}
		}
	}
	return k.fn.arg.append(head, arg)
}

// repeated looks whether an argument came before, and if so lets k use the blob of it.
func (s *blobs) repeated(k *call, b []byte) (ref blobRef, ok bool) {
	x := sample(b)
	s.mu.Lock()
	candidates, again := s.repeats.find(len(b), x)
	s.mu.Unlock()
	for _, r := range candidates {
		if bytes.Equal(r.blob.bytes, b) {
			return s.use(k, r)
		}
	}
	if len(candidates) > 0 {
		s.mu.Lock()
		s.repeats.mislead(len(b), x)
		s.mu.Unlock()
		return ref, false
	}
	if !again {
		return ref, false
	}
	held, err := s.share(slices.Clone(b))
	if err != nil {
		return ref, false
	}
	r := &repeat{blob: held, sample: x}
	s.mu.Lock()
	s.repeats.kept = append(s.repeats.kept, r)
	s.mu.Unlock()
	return s.use(k, r)
}

// find returns what an argument may be a repetition of. again: one that looked the same came before.
func (r *repeats) find(size int, sample uint64) (candidates []*repeat, again bool) {
	for _, x := range r.kept {
		if x.sample == sample && x.blob.ref.size == size {
			candidates = append(candidates, x)
		}
	}
	for i, x := range r.seen {
		if x.sample == sample && x.size == size {
			r.seen = append(slices.Delete(r.seen, i, i+1), x)
			return candidates, !x.misled
		}
	}
	if len(r.seen) == maxSeen {
		r.seen = slices.Delete(r.seen, 0, 1)
	}
	r.seen = append(r.seen, sighting{size: size, sample: sample})
	return candidates, false
}

// mislead notes that different arguments have a sample in common.
func (r *repeats) mislead(size int, sample uint64) {
	for i := range r.seen {
		if x := &r.seen[i]; x.sample == sample && x.size == size {
			x.misled = true
		}
	}
}

// use lets a call use a repeated argument, unless that was given up meanwhile.
func (s *blobs) use(k *call, r *repeat) (blobRef, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || !slices.Contains(s.repeats.kept, r) {
		return blobRef{}, false
	}
	r.calls++
	s.largeOf(k).repeat = r
	k.flags |= flagShared
	return r.blob.ref, true
}

// unuse notes that a call needs a repeated argument no more. s.mu is held.
func (s *blobs) unuse(r *repeat) {
	if r.calls--; r.calls > 0 {
		return
	}
	r.idle = uptime()
	p := &s.repeats
	at := slices.Index(p.kept, r) // the last to become idle is the last of the list
	p.kept = append(slices.Delete(p.kept, at, at+1), r)
	idle := 0
	for _, x := range p.kept {
		if x.calls == 0 {
			idle += x.blob.ref.size
		}
	}
	switch {
	case idle > maxIdle:
		s.work.Go(s.trim)
	case p.trim == nil:
		p.trim = time.AfterFunc(maxIdleFor, s.trimLater)
	}
}

// trim gives up repeated arguments that no task needs, if they are too many or were not needed for long.
func (s *blobs) trim() {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	p := &s.repeats
	var idle int
	var out []*repeat
	now := uptime()
	for i, x := range slices.Backward(p.kept) {
		if x.calls > 0 {
			continue
		}
		if size := x.blob.ref.size; now-x.idle < maxIdleFor && (idle == 0 || idle+size <= maxIdle) {
			idle += size
			continue
		}
		out = append(out, x)
		p.kept = slices.Delete(p.kept, i, i+1)
	}
	if p.trim != nil {
		p.trim.Stop()
		p.trim = nil
	}
	if idle > 0 {
		p.trim = time.AfterFunc(maxIdleFor, s.trimLater)
	}
	s.mu.Unlock()
	for _, x := range out {
		s.release(x.blob.ref.id, x.blob.ref.digest)
	}
}

// trimLater is trim as a timer calls it.
func (s *blobs) trimLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.work.Go(s.trim)
	}
}
