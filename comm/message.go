package comm

import (
	"bytes"
	"context"
	"fmt"

	"github.com/pprun/pprun/comm/frame"
)

// SendMessage sends bytes to a rank. It is the ground that package coll builds on; programs use that. Messages to one
// rank under one tag arrive in order. It returns when b may be used again, which says nothing of the receiver; it waits
// while more than 4 MiB are under way to dst. A message has at most 1 GiB.
func (c *Comm) SendMessage(ctx context.Context, dst int, tag uint64, b []byte) error {
	switch {
	case dst < 0 || dst >= c.Size():
		return fmt.Errorf("comm: send to rank %d: want 0 to %d", dst, c.Size()-1)
	case len(b) > maxLen:
		return fmt.Errorf("comm: send to rank %d: the message has %d bytes, at most %d", dst, len(b), maxLen)
	case ctx.Err() != nil:
		return errorf("send to rank %d: %w", dst, context.Cause(ctx))
	}
	if dst == c.rank {
		if err := c.mail.error(); err != nil {
			return errorf("send to rank %d: %w", dst, err)
		}
		c.mail.put(dst, tag, bytes.Clone(b))
		return nil
	}
	m := &c.mail
	order := &m.order[(uint64(dst)*31+tag)%uint64(len(m.order))]
	order.Lock()
	defer order.Unlock()
	for first := true; first || len(b) > 0; first = false {
		part := b[:min(len(b), partLen)]
		b = b[len(part):]
		h := frame.Header{Kind: kindMessage, Src: uint32(c.rank), Dst: uint32(dst), ID: tag}
		if len(b) > 0 {
			h.Flags = frame.More
		}
		// Once begun a message must be sent to its end, or the next under this tag would continue it.
		if !first {
			ctx = context.WithoutCancel(ctx)
		}
		if err := m.reserve(ctx, dst, messageCost+len(part)); err != nil {
			return errorf("send to rank %d: %w", dst, err)
		}
		if len(part) > lentLen {
			part = bytes.Clone(part)
		}
		c.up.send(h, part)
	}
	c.up.flush()
	return nil
}

// RecvMessage waits for the next message from a rank under a tag. The bytes are the caller's.
func (c *Comm) RecvMessage(ctx context.Context, src int, tag uint64) ([]byte, error) {
	if src < 0 || src >= c.Size() {
		return nil, fmt.Errorf("comm: receive from rank %d: want 0 to %d", src, c.Size()-1)
	}
	message, err := c.mail.take(ctx, src, tag)
	if err != nil {
		return nil, errorf("receive from rank %d: %w", src, err)
	}
	return message, nil
}
