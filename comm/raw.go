package comm

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"unsafe"
)

// littleEndian says that numbers lie in this machine's memory as they travel.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// compileRaw compiles the codec of a type that travels raw; it says whether c.typ is one.
func (c *codec) compileRaw() bool {
	if _, ok := opaque(c.typ); ok {
		return false
	}
	switch kind := c.typ.Kind(); {
	case width(kind) > 0:
		c.compileScalar()
	case kind == reflect.String:
		c.view = func(p unsafe.Pointer) []byte { s := *(*string)(p); return unsafe.Slice(unsafe.StringData(s), len(s)) }
		c.adopt = func(b []byte, p unsafe.Pointer) error {
			*(*string)(p) = unsafe.String(unsafe.SliceData(b), len(b))
			return nil
		}
		c.append = func(b []byte, p unsafe.Pointer) ([]byte, error) { return append(b, *(*string)(p)...), nil }
		c.decode = func(b []byte, p unsafe.Pointer) error { *(*string)(p) = string(b); return nil }
	case kind == reflect.Struct && c.typ.NumField() == 0:
		c.append = func(b []byte, _ unsafe.Pointer) ([]byte, error) { return b, nil }
		c.decode = func(b []byte, _ unsafe.Pointer) error { return checkLength(b, 0) }
	case kind == reflect.Slice && width(c.typ.Elem().Kind()) > 0:
		if _, ok := opaque(c.typ.Elem()); ok {
			return false
		}
		c.compileSlice()
	default:
		return false
	}
	return true
}

// width returns how many bytes a number or boolean takes on the wire, 0 for other kinds.
func width(k reflect.Kind) int {
	switch k {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return 1
	case reflect.Int16, reflect.Uint16:
		return 2
	case reflect.Int32, reflect.Uint32, reflect.Float32:
		return 4
	case reflect.Int, reflect.Uint, reflect.Int64, reflect.Uint64, reflect.Float64:
		return 8
	}
	return 0
}

func checkLength(b []byte, want int) error {
	if len(b) != want {
		return fmt.Errorf("%d bytes, want %d", len(b), want)
	}
	return nil
}

func (c *codec) compileScalar() {
	kind := c.typ.Kind()
	n := width(kind)
	c.append = func(b []byte, p unsafe.Pointer) ([]byte, error) { return appendScalar(b, kind, p), nil }
	c.decode = func(b []byte, p unsafe.Pointer) error {
		if err := checkLength(b, n); err != nil {
			return err
		}
		return decodeScalar(b, kind, p)
	}
}

func appendScalar(b []byte, k reflect.Kind, p unsafe.Pointer) []byte {
	switch k {
	case reflect.Int:
		return binary.LittleEndian.AppendUint64(b, uint64(*(*int)(p)))
	case reflect.Uint:
		return binary.LittleEndian.AppendUint64(b, uint64(*(*uint)(p)))
	}
	switch width(k) {
	case 1:
		return append(b, *(*byte)(p))
	case 2:
		return binary.LittleEndian.AppendUint16(b, *(*uint16)(p))
	case 4:
		return binary.LittleEndian.AppendUint32(b, *(*uint32)(p))
	}
	return binary.LittleEndian.AppendUint64(b, *(*uint64)(p))
}

// decodeScalar sets the number at p from the first bytes of b, which are enough.
func decodeScalar(b []byte, k reflect.Kind, p unsafe.Pointer) error {
	switch k {
	case reflect.Bool:
		*(*bool)(p) = b[0] != 0
		return nil
	case reflect.Int:
		v := int64(binary.LittleEndian.Uint64(b))
		if int64(int(v)) != v {
			return fmt.Errorf("%d overflows int on this platform", v)
		}
		*(*int)(p) = int(v)
		return nil
	case reflect.Uint:
		v := binary.LittleEndian.Uint64(b)
		if uint64(uint(v)) != v {
			return fmt.Errorf("%d overflows uint on this platform", v)
		}
		*(*uint)(p) = uint(v)
		return nil
	}
	switch width(k) {
	case 1:
		*(*byte)(p) = b[0]
	case 2:
		*(*uint16)(p) = binary.LittleEndian.Uint16(b)
	case 4:
		*(*uint32)(p) = binary.LittleEndian.Uint32(b)
	default:
		*(*uint64)(p) = binary.LittleEndian.Uint64(b)
	}
	return nil
}

// compileSlice compiles slices of numbers: where memory and wire agree a slice is one copy.
func (c *codec) compileSlice() {
	kind := c.typ.Elem().Kind()
	wire, size := width(kind), int(c.typ.Elem().Size())
	same := littleEndian && wire == size && kind != reflect.Bool || wire == 1
	// Every slice has the layout of []byte: base, length in elements, capacity.
	if same {
		c.view = func(p unsafe.Pointer) []byte {
			s := *(*[]byte)(p)
			return unsafe.Slice((*byte)(unsafe.SliceData(s)), len(s)*size)
		}
	}
	c.append = func(b []byte, p unsafe.Pointer) ([]byte, error) {
		if same {
			return append(b, c.view(p)...), nil
		}
		n, base := len(*(*[]byte)(p)), unsafe.Pointer(unsafe.SliceData(*(*[]byte)(p)))
		for i := range n {
			b = appendScalar(b, kind, unsafe.Add(base, i*size))
		}
		return b, nil
	}
	if same && kind != reflect.Bool {
		c.adopt = func(b []byte, p unsafe.Pointer) error {
			if len(b) == 0 || len(b)%size != 0 || uintptr(unsafe.Pointer(&b[0]))%uintptr(c.typ.Elem().Align()) != 0 {
				return c.decode(b, p)
			}
			n := len(b) / size
			*(*[]byte)(p) = unsafe.Slice(&b[0], n)[:n:n]
			return nil
		}
	}
	if kind == reflect.Uint8 {
		c.decode = func(b []byte, p unsafe.Pointer) error { *(*[]byte)(p) = append([]byte(nil), b...); return nil }
		return
	}
	c.decode = func(b []byte, p unsafe.Pointer) error {
		if len(b)%wire != 0 {
			return fmt.Errorf("%d bytes, want a multiple of %d", len(b), wire)
		}
		n := len(b) / wire
		v := reflect.NewAt(c.typ, p).Elem()
		if n == 0 {
			v.SetZero()
			return nil
		}
		v.Set(reflect.MakeSlice(c.typ, n, n))
		base := v.UnsafePointer()
		if same && kind != reflect.Bool {
			copy(unsafe.Slice((*byte)(base), len(b)), b)
			return nil
		}
		for i := range n {
			if err := decodeScalar(b[i*wire:], kind, unsafe.Add(base, i*size)); err != nil {
				return err
			}
		}
		return nil
	}
}
