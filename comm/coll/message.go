package coll

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pprun/pprun/comm"
)

// A message of Send is
//
//	uvarint length, type in words | value
//
// and travels under the caller's tag. One of a collective is
//
//	uvarint call, 0 if the sender's collective failed | uvarint length, collective or failure in words | value
//
// and travels under collectiveTag: messages from a rank arrive in the order of its calls, so that one which belongs to
// another call than the receiver's shows that the two disagree.
const (
	collectiveTag = 1 << 63
	maxTag        = math.MaxInt32
)

// Send sends v to rank dst, which calls Recv with the same tag, from 0 to 2^31-1. It returns when v may be changed
// again, which says nothing of the receiver; it waits while more than 4 MiB are under way to dst. A rank may send to
// itself.
func Send[T any](ctx context.Context, c *comm.Comm, dst, tag int, v T) error {
	if err := check(c, dst, tag); err != nil {
		return fmt.Errorf("coll: Send to rank %d: %w", dst, err)
	}
	value, err := comm.Encode(v)
	if err == nil {
		err = c.SendMessage(ctx, dst, uint64(tag), append(appendText(nil, typeName[T]()), value...))
	}
	if err != nil {
		return fmt.Errorf("coll: Send to rank %d, tag %d: %w", dst, tag, err)
	}
	return nil
}

// Recv waits for the next value that rank src sends to this one with this tag. Values of one source and tag arrive in
// the order in which they were sent.
func Recv[T any](ctx context.Context, c *comm.Comm, src, tag int) (T, error) {
	var zero T
	if err := check(c, src, tag); err != nil {
		return zero, fmt.Errorf("coll: Recv from rank %d: %w", src, err)
	}
	v, err := recv[T](ctx, c, src, tag)
	if err != nil {
		return zero, fmt.Errorf("coll: Recv from rank %d, tag %d: %w", src, tag, err)
	}
	return v, nil
}

func recv[T any](ctx context.Context, c *comm.Comm, src, tag int) (v T, err error) {
	b, err := c.RecvMessage(ctx, src, uint64(tag))
	if err != nil {
		return v, err
	}
	sent, value, err := cutText(b)
	if err != nil {
		return v, err
	}
	if want := typeName[T](); sent != want {
		return v, fmt.Errorf("%s was sent, want %s", sent, want)
	}
	return comm.Decode[T](value)
}

func check(c *comm.Comm, rank, tag int) error {
	if rank < 0 || rank >= c.Size() {
		return fmt.Errorf("there are ranks 0 to %d", c.Size()-1)
	}
	if tag < 0 || tag > maxTag {
		return fmt.Errorf("tag %d: want 0 to %d", tag, maxTag)
	}
	return nil
}

// send sends bytes to a rank within the collective.
func (k *call) send(dst int, value []byte) error {
	b := appendText(binary.AppendUvarint(nil, k.seq), k.what)
	if err := k.c.SendMessage(k.ctx, dst, collectiveTag, append(b, value...)); err != nil {
		return fmt.Errorf("send to rank %d: %w", dst, err)
	}
	return nil
}

// recv waits for what a rank sends within the collective.
func (k *call) recv(src int) ([]byte, error) {
	b, err := k.c.RecvMessage(k.ctx, src, collectiveTag)
	if err != nil {
		return nil, fmt.Errorf("wait for rank %d: %w", src, err)
	}
	seq, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, errMalformed
	}
	what, value, err := cutText(b[n:])
	switch {
	case err != nil:
		return nil, err
	case seq == 0:
		return nil, errors.New(what)
	case seq != k.seq || what != k.what:
		return nil, fmt.Errorf("rank %d called %s (call %d) where this rank calls %s (call %d): all ranks must call the same collectives in the same order",
			src, what, seq, k.what, k.seq)
	}
	return value, nil
}

// tellFailure lets every rank that waits for this one, now or later, fail too. That a rank is lost all know, but not that
// this one waited for it.
func (k *call) tellFailure(err error) {
	if errors.Is(err, comm.ErrClosed) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), time.Second) // a rank that reads nothing must not hold us
	defer cancel()
	b := appendText([]byte{0}, err.Error())
	for rank := range k.size {
		if rank != k.rank {
			_ = k.c.SendMessage(ctx, rank, collectiveTag, b) // who cannot be told is lost, and that is told by the hub
		}
	}
}

var errMalformed = errors.New("malformed message: do all ranks run the same program?")

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// cutText cuts b after the text that it begins with.
func cutText(b []byte) (text string, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return "", nil, errMalformed
	}
	end := n + int(size)
	return string(b[n:end]), b[end:], nil
}
