package frame

import "io"

const (
	bufferLen = 64 << 10 // one read gathers many small frames: a read per frame is 30 times slower
	keepLen   = 1 << 20  // a longer buffer made for one large frame is dropped after it
)

// Reader reads frames. It is not safe for concurrent use.
type Reader struct {
	r        io.Reader
	limits   *Limits
	buf      []byte // buf[off:end] is read and not yet handed out
	off, end int
	large    []byte // payload of the last frame that did not fit buf
	silence  Silence
}

// NewReader returns a Reader of the kinds that limits names.
func NewReader(r io.Reader, limits *Limits) *Reader {
	f := &Reader{limits: limits, buf: make([]byte, bufferLen)}
	f.r = listening{r, &f.silence}
	return f
}

// Silence is how long nothing has come, for any goroutine to measure with a Clock.
func (r *Reader) Silence() *Silence { return &r.silence }

// Next returns the next frame. The payload is valid until the following call. The error is io.EOF when the stream ended
// between frames, io.ErrUnexpectedEOF when it ended inside one.
func (r *Reader) Next() (Header, []byte, error) {
	if err := r.fill(HeaderLen); err != nil {
		return Header{}, nil, err
	}
	h := Parse(r.buf[r.off:])
	if err := r.limits.check(h); err != nil {
		return Header{}, nil, err
	}
	n := int(h.Len)
	if HeaderLen+n > len(r.buf) {
		r.off += HeaderLen
		payload, err := r.readLarge(n)
		return h, payload, err
	}
	if err := r.fill(HeaderLen + n); err != nil {
		return Header{}, nil, noEOF(err)
	}
	payload := r.buf[r.off+HeaderLen : r.off+HeaderLen+n : r.off+HeaderLen+n]
	r.off += HeaderLen + n
	return h, payload, nil
}

// Buffered says whether Next would return a whole frame without reading.
func (r *Reader) Buffered() bool {
	have := r.end - r.off
	return have >= HeaderLen && have >= HeaderLen+int(Parse(r.buf[r.off:]).Len)
}

// Rest returns the bytes read and not yet handed out, for who goes on with the stream by other means.
func (r *Reader) Rest() []byte { return r.buf[r.off:r.end] }

// fill reads until n bytes are buffered.
func (r *Reader) fill(n int) error {
	if r.end-r.off >= n {
		return nil
	}
	if r.off > 0 {
		copy(r.buf, r.buf[r.off:r.end])
		r.end -= r.off
		r.off = 0
	}
	got, err := io.ReadAtLeast(r.r, r.buf[r.end:], n-r.end)
	r.end += got
	if err == io.EOF && r.end > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readLarge reads a payload longer than the buffer. Memory grows as bytes arrive, not as the header claims.
func (r *Reader) readLarge(n int) ([]byte, error) {
	b := r.large[:0]
	if cap(b) > keepLen {
		b = nil
	}
	b = append(b, r.buf[r.off:r.end]...)
	r.off, r.end = 0, 0
	for len(b) < n {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(n, max(2*cap(b), 4*bufferLen)))
			copy(grown, b)
			b = grown
		}
		got, err := io.ReadFull(r.r, b[len(b):min(n, cap(b))])
		b = b[:len(b)+got]
		if err != nil {
			return nil, noEOF(err)
		}
	}
	r.large = b
	return b, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
