package frame

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pprun/pprun/scripts/bounded"
)

var limits = Limits{1: 100, 2: NoPayload, 3: MaxPayload}

func TestRoundTrip(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 200_000/16)
	frames := []struct {
		h       Header
		payload []byte
	}{
		{Header{Kind: 1, Flags: More, Src: 1, Dst: 1<<32 - 1, ID: 1<<64 - 1}, []byte("hello")},
		{Header{Kind: 2, Src: 7}, nil},
		{Header{Kind: 3, ID: 5}, big},
		{Header{Kind: 1}, bytes.Repeat([]byte("x"), 100)},
		{Header{Kind: 3}, big[:bufferLen-HeaderLen]},
		{Header{Kind: 3}, big[:bufferLen-HeaderLen+1]},
		{Header{Kind: 2}, nil},
	}
	var wire bytes.Buffer
	for _, f := range frames {
		if err := Write(&wire, f.h, f.payload); err != nil {
			t.Fatal(err)
		}
	}
	for name, stream := range map[string]io.Reader{
		"whole":    bytes.NewReader(wire.Bytes()),
		"one byte": iotest.OneByteReader(bytes.NewReader(wire.Bytes())),
		"halves":   iotest.HalfReader(bytes.NewReader(wire.Bytes())),
	} {
		r := NewReader(stream, &limits)
		for i, f := range frames {
			h, p, err := r.Next()
			if err != nil {
				t.Fatalf("%s: frame %d: %v", name, i, err)
			}
			want := f.h
			want.Len = uint32(len(f.payload))
			if h != want || !bytes.Equal(p, f.payload) {
				t.Errorf("%s: frame %d: got %+v and %d bytes, want %+v and %d", name, i, h, len(p), want, len(f.payload))
			}
		}
		if _, _, err := r.Next(); err != io.EOF {
			t.Errorf("%s: after the last frame: %v, want io.EOF", name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name, want string
		h          Header
	}{
		{"unknown kind", "unknown kind 9", Header{Kind: 9}},
		{"kind zero", "unknown kind 0", Header{}},
		{"too long", "payload of 101 bytes, at most 100", Header{Kind: 1, Len: 101}},
		{"longest length", "payload of 4294967295 bytes", Header{Kind: 3, Len: 1<<32 - 1}},
		{"must be empty", "want none", Header{Kind: 2, Len: 1}},
	} {
		b := make([]byte, HeaderLen)
		Put(b, c.h)
		_, _, err := NewReader(bytes.NewReader(b), &limits).Next()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTruncated(t *testing.T) {
	whole := Append(nil, Header{Kind: 1}, []byte("hello"))
	for n := 1; n < len(whole); n++ {
		if _, _, err := NewReader(bytes.NewReader(whole[:n]), &limits).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v, want io.ErrUnexpectedEOF", n, err)
		}
	}
}

func TestClaimedLengthIsNotAllocated(t *testing.T) {
	b := make([]byte, HeaderLen)
	Put(b, Header{Kind: 3, Len: MaxPayload})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := NewReader(bytes.NewReader(b), &limits).Next()
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("a header claiming 16 MiB made the reader allocate %d bytes", n)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(Append(nil, Header{Kind: 1, ID: 3}, []byte("hello")))
	f.Add(Append(Append(nil, Header{Kind: 2}, nil), Header{Kind: 3}, make([]byte, 70_000)))
	f.Add(make([]byte, HeaderLen))
	f.Fuzz(func(t *testing.T, wire []byte) {
		defer bounded.Memory(t)()
		r := NewReader(bytes.NewReader(wire), &limits)
		var again []byte
		for {
			h, p, err := r.Next()
			if err != nil {
				break
			}
			again = Append(again, h, p)
		}
		if len(again) > len(wire) {
			t.Fatalf("%d bytes read from %d", len(again), len(wire))
		}
	})
}

func BenchmarkReadSmall(b *testing.B) {
	wire := bytes.Repeat(Append(nil, Header{Kind: 1}, []byte("12345678")), 1000)
	b.SetBytes(int64(len(wire)) / 1000)
	src := bytes.NewReader(wire)
	r := NewReader(src, &limits)
	for range b.N {
		if _, _, err := r.Next(); err != nil {
			src.Reset(wire)
			r = NewReader(src, &limits)
		}
	}
}
