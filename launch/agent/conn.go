package agent

import (
	"fmt"
	"io"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"github.com/pprun/pprun/comm/frame"
)

// Conn is either end of a launcher-agent connection. One goroutine reads; any number may send.
type Conn struct {
	rwc io.ReadWriteCloser
	r   *frame.Reader
	mu  sync.Mutex // held while writing a frame
}

// NewConn speaks the protocol over rwc.
func NewConn(rwc io.ReadWriteCloser) *Conn {
	return &Conn{rwc: rwc, r: frame.NewReader(rwc, &limits)}
}

// Next returns the next frame; the payload is valid until the following call.
func (c *Conn) Next() (frame.Header, []byte, error) { return c.r.Next() }

// Silence is how long nothing has come from the other end.
func (c *Conn) Silence() *frame.Silence { return c.r.Silence() }

// Send sends a frame. It blocks while the other end takes nothing.
func (c *Conn) Send(h frame.Header, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return frame.Write(c.rwc, h, payload)
}

// SendHeaded sends b as a frame with one write, which on a pipe to ssh makes one packet of it. b begins with HeaderLen
// bytes of room for the header.
func (c *Conn) SendHeaded(h frame.Header, b []byte) error {
	h.Len = uint32(len(b) - frame.HeaderLen)
	frame.Put(b, h)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.rwc.Write(b)
	return err
}

// SendValue sends v in CBOR.
func (c *Conn) SendValue(h frame.Header, v any) error {
	b, err := cbor.Marshal(v)
	if err != nil {
		return err
	}
	if max := limits[h.Kind]; len(b) > max {
		return fmt.Errorf("agent: frame of kind %d: %d bytes, at most %d", h.Kind, len(b), max)
	}
	return c.Send(h, b)
}

// Close ends the connection; Next returns.
func (c *Conn) Close() error { return c.rwc.Close() }

// Arguments and variables are any bytes, not only UTF-8.
var decoding, _ = cbor.DecOptions{UTF8: cbor.UTF8DecodeInvalid, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 10, MaxNestedLevels: 8}.DecMode()

// Decode reads a structured payload.
func Decode[T any](payload []byte) (T, error) {
	var v T
	err := decoding.Unmarshal(payload, &v)
	return v, err
}
