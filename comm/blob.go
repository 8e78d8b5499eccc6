package comm

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"

	"github.com/pprun/pprun/comm/frame"
)

// Large data stays where it is until somebody needs it: the rank that has it holds it as a blob, a blobRef travels in its
// place, and whoever needs it fetches it from there in pieces, through the hub, a few at a time. So the hub never has more
// of it than the pieces under way. Four things are blobs: values given to Share, arguments that come again and again,
// and arguments and results longer than inlineLen.

// A digest names a blob. That of a shared one is the SHA-256 of its bytes, so that the same data has the same name
// wherever it is. That of one which a single task needs is unique: a CRC-32C, which costs a tenth, and random bytes.
type digest [digestLen]byte

const digestLen = sha256.Size

func (d digest) String() string { return fmt.Sprintf("%x", d[:6]) }

// A blobRef names a blob and says where it is.
type blobRef struct {
	digest digest
	size   int
	owner  int    // the rank that holds it
	id     uint64 // among the blobs of owner
	shared bool   // many need it
}

// On the wire it is the digest, u64 size, u64 id, u32 owner, u8 1 if shared; little-endian like the arguments.
const blobRefLen = digestLen + 8 + 8 + 4 + 1

func (r blobRef) append(b []byte) []byte {
	b = append(b, r.digest[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.size))
	b = binary.LittleEndian.AppendUint64(b, r.id)
	b = binary.LittleEndian.AppendUint32(b, uint32(r.owner))
	if r.shared {
		return append(b, 1)
	}
	return append(b, 0)
}

func parseBlobRef(b []byte) (r blobRef, err error) {
	if len(b) != blobRefLen {
		return r, fmt.Errorf("the name of a blob has %d bytes, want %d", len(b), blobRefLen)
	}
	copy(r.digest[:], b)
	b = b[digestLen:]
	size, owner := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[16:])
	if size > math.MaxInt || owner > math.MaxInt32 || b[20] > 1 {
		return blobRef{}, fmt.Errorf("a blob of %d bytes in rank %d, shared %d", size, owner, b[20])
	}
	r.size, r.id, r.owner, r.shared = int(size), binary.LittleEndian.Uint64(b[8:]), int(owner), b[20] == 1
	return r, nil
}

// checkBlobFrame checks the length of a frame about a blob, before the rank gets it that it is for.
func checkBlobFrame(kind frame.Kind, payload []byte) error {
	want := -1
	switch kind {
	case kindFetch:
		want = fetchLen
	case kindRelease, kindForget:
		want = digestLen
	}
	if want >= 0 && len(payload) != want {
		return fmt.Errorf("a frame of kind %d with %d bytes, want %d", kind, len(payload), want)
	}
	return nil
}

// blobs are the blobs of a rank: those that it holds, and those that it fetches.
type blobs struct {
	comm *Comm
	dir  string // where the ranks of this node share what they fetch; "" if this is the only one
	work sync.WaitGroup

	mu      sync.Mutex // guards the fields below; nothing is sent and no other lock taken while it is held
	held    table[*blob]
	fetches table[*fetch]
	large   map[*call]*largeCall
	offers  map[uint64]blobRef // results that are not fetched yet, by the id of their run
	repeats repeats
	lost    map[int]error // ranks that are lost
	err     error         // why nothing can be fetched any more
}

// A blob is held for others. It does not change.
type blob struct {
	ref     blobRef
	bytes   []byte
	gone    func()       // called, in a goroutine, when it is released; may be nil
	readers map[int]bool // nodes that have fetched of it
}

func (s *blobs) init(c *Comm, dir string) {
	s.comm, s.dir = c, dir
	s.large = make(map[*call]*largeCall)
	s.offers = make(map[uint64]blobRef)
	s.lost = make(map[int]error)
}

// receive takes a frame about a blob.
func (s *blobs) receive(h frame.Header, payload []byte) error {
	if err := checkBlobFrame(h.Kind, payload); err != nil {
		return err
	}
	switch h.Kind {
	case kindFetch:
		s.serve(h, payload)
	case kindRelease:
		s.release(h.ID, digest(payload))
	case kindForget:
		s.forget(digest(payload))
	default:
		s.arrive(h, payload)
	}
	return nil
}

// share takes bytes that many may need, hold those that one task needs. They must not change any more.
func (s *blobs) share(b []byte) (*blob, error) {
	return s.keep(&blob{bytes: b, ref: blobRef{digest: sha256.Sum256(b), shared: true}})
}

func (s *blobs) hold(b []byte, gone func()) (*blob, error) {
	x := &blob{bytes: b, gone: gone}
	binary.LittleEndian.PutUint32(x.ref.digest[:], crc32.Checksum(b, castagnoli()))
	rand.Read(x.ref.digest[crc32.Size:])
	return s.keep(x)
}

func (s *blobs) keep(x *blob) (*blob, error) {
	x.ref.size, x.ref.owner, x.readers = len(x.bytes), s.comm.rank, make(map[int]bool)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	x.ref.id = s.held.add(x)
	return x, nil
}

// find returns a blob that this rank holds. An earlier incarnation of it may have held another under that id.
// s.mu is held.
func (s *blobs) find(id uint64, d digest) (x *blob, ok bool) {
	x, ok = s.held.get(id)
	return x, ok && x.ref.digest == d
}

// release lets go of a blob. One that others may have kept is forgotten everywhere.
func (s *blobs) release(id uint64, d digest) {
	s.mu.Lock()
	x, ok := s.find(id, d)
	if !ok || s.err != nil {
		s.mu.Unlock()
		return
	}
	s.held.remove(id)
	if x.gone != nil {
		s.work.Go(x.gone)
	}
	s.mu.Unlock()
	if x.ref.shared {
		s.forgetEverywhere(x)
	}
}

// forgetEverywhere tells the nodes that have fetched of a blob to forget it, this rank first.
func (s *blobs) forgetEverywhere(x *blob) {
	c := s.comm
	s.forget(x.ref.digest)
	for rank, node := range c.ranks.Load().node {
		if x.readers[node] && rank != c.rank {
			c.up.send(frame.Header{Kind: kindForget, Src: uint32(c.rank), Dst: uint32(rank)}, x.ref.digest[:])
		}
	}
	c.up.nudge()
}

// serve answers a rank that asks for a piece of a blob.
func (s *blobs) serve(h frame.Header, payload []byte) {
	d, id, from, n := parseFetch(payload)
	c := s.comm
	reply := frame.Header{Kind: kindMissing, Src: uint32(c.rank), Dst: h.Src, ID: h.ID}
	var piece []byte
	s.mu.Lock()
	x, ok := s.find(id, d)
	if ok && n <= pieceLen && from <= uint64(len(x.bytes)) && uint64(n) <= uint64(len(x.bytes))-from {
		x.readers[c.ranks.Load().node[h.Src]] = true
		reply.Kind, piece = kindPiece, x.bytes[from:from+uint64(n):from+uint64(n)]
	}
	s.mu.Unlock()
	c.up.send(reply, piece)
	c.up.nudge()
}

// local returns the bytes of a blob that this rank holds.
func (s *blobs) local(ref blobRef) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	x, ok := s.find(ref.id, ref.digest)
	if !ok {
		return nil, ErrReleased
	}
	return x.bytes, nil
}

// ErrReleased is the error of Ref.Get where the value was released, or the rank that shared it has been started again.
var ErrReleased = errors.New("comm: the shared value was released")

// lose ends what is fetched from a rank that is lost, and drops arguments that came from there.
func (s *blobs) lose(rank int, err error) {
	s.drop(func(key any) bool { k, ok := key.(argumentKey); return ok && k.owner == rank })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost[rank] = err
	for f := range s.fetches.all {
		if f.owner == rank {
			f.fail(err)
		}
	}
}

// regain lets what is held by the new incarnation of a lost rank be fetched.
func (s *blobs) regain(rank int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lost, rank)
}

// fail ends all fetches and lets all blobs go.
func (s *blobs) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	for f := range s.fetches.all {
		f.fail(err)
	}
	if s.repeats.trim != nil {
		s.repeats.trim.Stop()
	}
	s.held, s.repeats = table[*blob]{}, repeats{}
	clear(s.offers)
}
