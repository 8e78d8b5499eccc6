package comm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"

	"github.com/pprun/pprun/comm/frame"
)

const (
	pieceLen   = partLen // bytes that are asked for at once
	fetchAhead = 8       // pieces of a fetch under way
)

// A fetch is a blob on its way to this rank. Pieces come in the order in which they were asked for.
type fetch struct {
	owner  int
	pieces chan []byte // has room for all that are under way
	failed chan struct{}
	err    error // set before failed is closed
}

// fail ends a fetch. The blobs' mu is held.
func (f *fetch) fail(err error) {
	if f.err == nil {
		f.err = err
		close(f.failed)
	}
}

// arrive takes a piece, lent or given, or the word that there is none. What nobody waits for any more is dropped.
func (s *blobs) arrive(h frame.Header, piece []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.fetches.get(h.ID)
	switch {
	case !ok || f.owner != int(h.Src):
		return
	case h.Kind == kindMissing:
		f.fail(ErrReleased)
		return
	}
	if len(piece) <= lentLen {
		piece = append([]byte(nil), piece...)
	}
	select {
	case f.pieces <- piece:
	default:
		f.fail(errors.New("more came than was asked for"))
	}
}

var errDigest = errors.New("the data was changed on its way")

// fetch gets the bytes of a blob from the rank that holds it. They belong to the caller, unless that is this rank.
func (s *blobs) fetch(ctx context.Context, ref blobRef) ([]byte, error) {
	c := s.comm
	if ref.owner >= c.Size() {
		return nil, fmt.Errorf("rank %d of %d cannot have it", ref.owner, c.Size())
	}
	if ref.owner == c.rank {
		return s.local(ref)
	}
	b, err := s.transfer(ctx, ref)
	if errors.Is(err, errDigest) {
		b, err = s.transfer(ctx, ref)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %d bytes from rank %d (%s): %w", ref.size, ref.owner, c.nodeName(ref.owner), err)
	}
	return b, nil
}

// transfer fetches once.
func (s *blobs) transfer(ctx context.Context, ref blobRef) ([]byte, error) {
	f := &fetch{owner: ref.owner, pieces: make(chan []byte, fetchAhead), failed: make(chan struct{})}
	id, err := s.begin(f)
	if err != nil {
		return nil, err
	}
	defer s.end(id)
	sum := newChecksum(ref)
	var b []byte
	for asked := 0; len(b) < ref.size; {
		for asked < ref.size && asked-len(b) < fetchAhead*pieceLen {
			n := min(pieceLen, ref.size-asked)
			s.ask(id, ref, asked, n)
			asked += n
		}
		s.comm.up.flush()
		select {
		case piece := <-f.pieces:
			if len(piece) != min(pieceLen, ref.size-len(b)) {
				return nil, errDigest
			}
			sum.add(piece)
			b = appendPiece(b, piece, ref.size)
		case <-f.failed:
			return nil, f.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if !sum.matches(ref.digest) {
		return nil, errDigest
	}
	return b, nil
}

// A checksum tells whether bytes are those that a digest names.
type checksum struct {
	sha hash.Hash // nil of a blob that is not shared
	crc uint32
}

// castagnoli is made when it is first needed, and kept by package crc32: that takes a tenth of a rank's start.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func newChecksum(ref blobRef) *checksum {
	if ref.shared {
		return &checksum{sha: sha256.New()}
	}
	return &checksum{}
}

func (s *checksum) add(b []byte) {
	if s.sha != nil {
		s.sha.Write(b)
	} else {
		s.crc = crc32.Update(s.crc, castagnoli(), b)
	}
}

func (s *checksum) matches(d digest) bool {
	if s.sha != nil {
		return digest(s.sha.Sum(nil)) == d
	}
	return s.crc == binary.LittleEndian.Uint32(d[:])
}

// appendPiece appends to b, which will have size bytes. It makes room for all of them at once where they are not more
// than 64 times what has come, the decoder's budget, so that who only claims a size makes nobody pay for it.
func appendPiece(b, piece []byte, size int) []byte {
	if need := len(b) + len(piece); need > cap(b) {
		grown := make([]byte, len(b), max(need, min(size, 4*pieceLen+64*len(b))))
		copy(grown, b)
		b = grown
	}
	return append(b, piece...)
}

func (s *blobs) ask(id uint64, ref blobRef, from, n int) {
	var b [fetchLen]byte
	putFetch(b[:], ref, uint64(from), uint32(n))
	c := s.comm
	c.up.send(frame.Header{Kind: kindFetch, Src: uint32(c.rank), Dst: uint32(ref.owner), ID: id}, b[:])
}

// begin lists a fetch, end forgets it.
func (s *blobs) begin(f *fetch) (id uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if err := s.lost[f.owner]; err != nil {
		return 0, err
	}
	return s.fetches.add(f), nil
}

func (s *blobs) end(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches.remove(id)
}
