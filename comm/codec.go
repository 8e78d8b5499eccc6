package comm

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
)

// A codec turns values of one type into bytes and back. Every payload is self-contained. Numbers, booleans, strings,
// []byte and slices of numbers travel raw and little-endian, everything else as CBOR (RFC 8949).
// An empty slice that travels raw arrives as nil.
type codec struct {
	typ    reflect.Type
	schema string
	append func(b []byte, p unsafe.Pointer) ([]byte, error) // appends the value at p, which it does not keep
	decode func(b []byte, p unsafe.Pointer) error           // sets the value at p, which shares nothing with b
	adopt  func(b []byte, p unsafe.Pointer) error           // decode, but b must not change while the value is in use
	view   func(p unsafe.Pointer) []byte                    // what append would append, where that lies at p; nil if nowhere
}

// newCodec compiles the codec of a type; the error names the field that cannot be encoded.
func newCodec(t reflect.Type) (*codec, error) {
	schema, err := schemaOf(t)
	if err != nil {
		return nil, err
	}
	c := &codec{typ: t, schema: schema}
	if !c.compileRaw() {
		c.compileCBOR()
	}
	if c.adopt == nil {
		c.adopt = c.decode
	}
	return c, nil
}

var codecs sync.Map // reflect.Type -> *codec

func codecOf(t reflect.Type) (*codec, error) {
	if c, ok := codecs.Load(t); ok {
		return c.(*codec), nil
	}
	c, err := newCodec(t)
	if err != nil {
		return nil, errorf("type %v: %w", t, err)
	}
	codecs.Store(t, c)
	return c, nil
}

// Encode returns v as the arguments and results of tasks travel. The error names the field that cannot be encoded.
func Encode[T any](v T) ([]byte, error) {
	c, err := codecOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	return c.append(nil, unsafe.Pointer(&v))
}

// Decode returns the value that Encode made b of. It takes any bytes without harm.
func Decode[T any](b []byte) (T, error) {
	var v T
	c, err := codecOf(reflect.TypeFor[T]())
	if err != nil {
		return v, err
	}
	if err := c.decode(b, unsafe.Pointer(&v)); err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

// Limits of a decoder. The decoder checks that a message is whole before it makes room for what the message claims.
const (
	maxNested   = 32
	maxElements = 1 << 27
)

var (
	cborEnc = must(cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode())
	cborDec = must(cbor.DecOptions{
		MaxNestedLevels:  maxNested,
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxElements,
		DefaultMapType:   reflect.TypeFor[map[string]any](),
		IntDec:           cbor.IntDecConvertSignedOrBigInt,
		UTF8:             cbor.UTF8DecodeInvalid, // a Go string may hold any bytes
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// ErrDecodeBudget is why a message is refused that would fill far more memory than it has bytes.
var ErrDecodeBudget = errors.New("comm: the message would fill more memory than its length allows")

func (c *codec) compileCBOR() {
	element := elementSize(c.typ)
	dynamic := factsOf(c.typ).holdsAny
	c.append = func(b []byte, p unsafe.Pointer) (_ []byte, err error) {
		defer recoverInto(&err)
		if dynamic {
			if m := misfitIn(reflect.NewAt(c.typ, p).Elem(), visit{}); m != nil {
				return nil, m
			}
		}
		more, err := cborEnc.Marshal(reflect.NewAt(c.typ, p).Interface())
		if err != nil {
			return nil, err
		}
		return append(b, more...), nil
	}
	c.decode = func(b []byte, p unsafe.Pointer) (err error) {
		defer recoverInto(&err)
		if err := checkBudget(b, element); err != nil {
			return err
		}
		return cborDec.Unmarshal(b, reflect.NewAt(c.typ, p).Interface())
	}
}

// recoverInto turns a panic in a type's own marshalling methods into an error.
func recoverInto(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic while encoding or decoding: %v", p)
	}
}

// checkBudget refuses a message whose items, each as large as the largest element of the type, would take more than 64
// times its length and 1 MiB.
func checkBudget(b []byte, element uintptr) error {
	budget := 64*len(b) + 1<<20
	if len(b)*int(element) <= budget || items(b)*int(element) <= budget {
		return nil
	}
	return ErrDecodeBudget
}

// items counts the data items of a CBOR message, nested ones too. A malformed one is the decoder's to report.
func items(b []byte) int {
	n := 0
	for len(b) > 0 {
		n++
		major, info := b[0]>>5, b[0]&31
		b = b[1:]
		value := uint64(info)
		if info >= 24 && info <= 27 {
			width := 1 << (info - 24)
			if len(b) < width {
				return n
			}
			value = 0
			for _, x := range b[:width] {
				value = value<<8 | uint64(x)
			}
			b = b[width:]
		}
		if major == 2 || major == 3 {
			if info > 27 { // of indefinite length: its chunks follow as items
				continue
			}
			b = b[min(value, uint64(len(b))):]
		}
	}
	return n
}
