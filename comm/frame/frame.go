// Package frame is the one framing of pprun's three protocols (launcher-agent, rank-agent, rank-hub).
//
// A frame is a header of 24 bytes and a payload:
//
//	0      4    5      6        8    12   16          24
//	+------+----+------+--------+----+----+-----------+---------+
//	| len  |kind| flags|  zero  |src |dst |    id     | payload |
//	+------+----+------+--------+----+----+-----------+---------+
//
// All integers are big-endian. len counts the payload only. What kind, src, dst and id mean is each
// protocol's own affair; a kind that the reader's Limits do not name ends the connection, and so does a
// payload longer than its kind allows, both before a byte of it is stored.
package frame

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// HeaderLen is the length of a frame's header in bytes.
const HeaderLen = 24

// MaxPayload is the longest payload of any kind: longer messages travel as several frames (see More).
const MaxPayload = 1 << 24

// More is the flag of a frame whose message goes on in a later frame of the same kind, src, dst and id.
const More = 1 << 0

// Kind says what a frame is; each protocol has its own list.
type Kind uint8

// Header is all of a frame but its payload. Len is filled in by Append, Put and Write.
type Header struct {
	Len      uint32
	Kind     Kind
	Flags    uint8
	Src, Dst uint32
	ID       uint64
}

// Limits holds for each kind the longest payload a reader accepts, in bytes. Zero means that the kind is unknown;
// NoPayload that it must be empty.
type Limits [256]int

// NoPayload is the limit of kinds that carry no payload.
const NoPayload = -1

// Put writes h into b, which must have room for HeaderLen bytes.
func Put(b []byte, h Header) {
	_ = b[HeaderLen-1]
	binary.BigEndian.PutUint32(b, h.Len)
	b[4], b[5], b[6], b[7] = byte(h.Kind), h.Flags, 0, 0
	binary.BigEndian.PutUint32(b[8:], h.Src)
	binary.BigEndian.PutUint32(b[12:], h.Dst)
	binary.BigEndian.PutUint64(b[16:], h.ID)
}

// Parse reads a header from the first HeaderLen bytes of b. It checks nothing.
func Parse(b []byte) Header {
	_ = b[HeaderLen-1]
	return Header{
		Len:   binary.BigEndian.Uint32(b),
		Kind:  Kind(b[4]),
		Flags: b[5],
		Src:   binary.BigEndian.Uint32(b[8:]),
		Dst:   binary.BigEndian.Uint32(b[12:]),
		ID:    binary.BigEndian.Uint64(b[16:]),
	}
}

// Append appends a whole frame to b.
func Append(b []byte, h Header, payload []byte) []byte {
	h.Len = uint32(len(payload))
	var head [HeaderLen]byte
	Put(head[:], h)
	return append(append(b, head[:]...), payload...)
}

// Write writes a whole frame to w, with one system call where w is a network connection. Callers serialise.
func Write(w io.Writer, h Header, payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("frame: kind %d: payload of %d bytes, at most %d", h.Kind, len(payload), MaxPayload)
	}
	if len(payload) <= 4096 {
		_, err := w.Write(Append(make([]byte, 0, HeaderLen+len(payload)), h, payload))
		return err
	}
	h.Len = uint32(len(payload))
	var head [HeaderLen]byte
	Put(head[:], h)
	bufs := net.Buffers{head[:], payload}
	_, err := bufs.WriteTo(w)
	return err
}

// check says whether a frame may be accepted at all.
func (l *Limits) check(h Header) error {
	limit := l[h.Kind]
	switch {
	case limit == 0:
		return fmt.Errorf("frame: unknown kind %d", h.Kind)
	case limit == NoPayload && h.Len != 0:
		return fmt.Errorf("frame: kind %d: payload of %d bytes, want none", h.Kind, h.Len)
	case limit != NoPayload && int64(h.Len) > int64(limit):
		return fmt.Errorf("frame: kind %d: payload of %d bytes, at most %d", h.Kind, h.Len, limit)
	}
	return nil
}
