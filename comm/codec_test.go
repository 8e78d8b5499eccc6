package comm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/pprun/pprun/scripts/bounded"
)

type (
	named int16
	inner struct{ A []string }
	mixed struct {
		I int
		U uint8 `json:"u"`
		F float64
		S string
		B []byte
		P *inner
		M map[string]int
		T time.Time
		X any
		N *big.Int
		_ int
	}
	hidden struct{ _ int }
	node   struct{ Next *node }
	bad    struct{ Next struct{ Done chan int } }
	self   struct{ v byte }
)

func (s self) MarshalBinary() ([]byte, error) { return []byte{s.v}, nil }
func (s *self) UnmarshalBinary(b []byte) error {
	if len(b) != 1 {
		return errors.New("want one byte")
	}
	s.v = b[0]
	return nil
}

func trip[T any](t *testing.T, v T) {
	t.Helper()
	b, err := Encode(v)
	if err != nil {
		t.Errorf("encode %T %v: %v", v, v, err)
		return
	}
	got, err := Decode[T](b)
	if err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%T: sent %#v, got %#v, %v", v, v, got, err)
	}
}

func TestRoundTrip(t *testing.T) {
	trip(t, 0)
	trip(t, math.MinInt)
	trip(t, uint(math.MaxUint))
	trip(t, int8(-1))
	trip(t, named(-300))
	trip(t, float32(1.5))
	trip(t, math.Inf(-1))
	trip(t, true)
	trip(t, "")
	trip(t, "h\xffé")
	trip(t, []byte(nil))
	trip(t, []byte{1, 2})
	trip(t, []int{1, -2, 3})
	trip(t, []named{-1, 2})
	trip(t, []float64{1, math.MaxFloat64})
	trip(t, []float32(nil))
	trip(t, []bool{true, false})
	trip(t, []uint16(nil))
	trip(t, struct{}{})
	trip(t, [3]int{1, 2, 3})
	trip(t, []string{"a", ""})
	trip(t, map[string][]int{"a": {1}, "b": nil})
	trip(t, map[inner2]int{{1, "x"}: 3})
	trip(t, self{7})
	trip(t, []self{{1}, {2}})
	trip(t, time.Date(2026, 11, 22, 1, 2, 3, 4, time.UTC))
	trip(t, mixed{I: -1, U: 2, F: 3.5, S: "s", B: []byte{1}, P: &inner{[]string{"x"}}, M: map[string]int{"a": 1},
		T: time.Date(2026, 1, 1, 0, 0, 0, 1, time.UTC), X: []any{int64(1), "a", map[string]any{"k": true}}, N: big.NewInt(1 << 62)})
	n := new(big.Int).Lsh(big.NewInt(-5), 500)
	b, err := Encode(n)
	got, err2 := Decode[*big.Int](b)
	if err != nil || err2 != nil || got.Cmp(n) != 0 {
		t.Errorf("big.Int: %v, %v, %v", got, err, err2)
	}
}

type inner2 struct {
	A int
	B string
}

func TestSchema(t *testing.T) {
	for _, c := range []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[int](), "int"},
		{reflect.TypeFor[named](), "int16"},
		{reflect.TypeFor[[]byte](), "[]uint8"},
		{reflect.TypeFor[[4]map[string]*inner](), "[4]map[string]*{A []string}"},
		{reflect.TypeFor[mixed](), `{I int; U uint8 "u"; F float64; S string; B []uint8; P *{A []string}; M map[string]int; T time; X any; N *bigint}`},
		{reflect.TypeFor[self](), "binary(comm.self)"},
		{reflect.TypeFor[struct{}](), "{}"},
		{reflect.TypeFor[chan int](), "chan int cannot be encoded"},
		{reflect.TypeFor[bad](), ".Next.Done: chan int cannot be encoded"},
		{reflect.TypeFor[[]func()](), "[]: func() cannot be encoded"},
		{reflect.TypeFor[map[string]complex128](), "[]: complex128 cannot be encoded"},
		{reflect.TypeFor[node](), ".Next: comm.node contains itself: a cyclic type cannot be encoded"},
		{reflect.TypeFor[hidden](), "comm.hidden has no exported field: nothing of it would travel"},
		{reflect.TypeFor[struct{ E error }](), ".E: error: of interfaces only any can be encoded"},
	} {
		got, err := schemaOf(c.typ)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.typ, got, c.want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	if _, err := Encode(make(chan int)); err == nil || err.Error() != "comm: type chan int: chan int cannot be encoded" {
		t.Errorf("got %v", err)
	}
	if _, err := Encode[any](make(chan int)); err == nil {
		t.Error("a channel in an any was encoded")
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		b    string
		f    func([]byte) error
		want string
	}{
		{"1234567", decodes[int], "7 bytes, want 8"},
		{"123456789", decodes[[]float64], "9 bytes, want a multiple of 8"},
		{"x", decodes[struct{}], "1 bytes, want 0"},
		{"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", decodes[[]string], "exceeded max number of elements"},
		{"\xba\x7f\xff\xff\xff", decodes[map[string]int], "exceeded max number"},
		{"\x9a\x00\xff\xff\xff", decodes[[]inner], "EOF"},
		{strings.Repeat("\x81", 40) + "\x00", decodes[any], "exceeded max nested level"},
		{"\x9a\x00\x04\x00\x00" + strings.Repeat("\xf6", 1<<18), decodes[[][100]int], ErrDecodeBudget.Error()},
		{"ab", decodes[self], "cannot unmarshal"},
	} {
		if err := c.f([]byte(c.b)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: %v, want %q", c.b, err, c.want)
		}
	}
}

func decodes[T any](b []byte) error {
	_, err := Decode[T](b)
	return err
}

func TestItems(t *testing.T) {
	for _, v := range []any{1, "abc", []any{1, 2, []any{"x"}}, map[string]any{"a": 1, "b": []byte("xyz")}, strings.Repeat("x", 70_000)} {
		b, err := cborEnc.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		switch v.(type) {
		case []any, map[string]any:
			want = 5
		}
		if n := items(b); n != want {
			t.Errorf("%.20q: %d items, want %d", b, n, want)
		}
	}
}

// FuzzDecode decodes anything as everything, and as an error: it must neither panic nor blow up, and what it accepts
// must survive another trip.
func FuzzDecode(f *testing.F) {
	var all []*codec
	for _, t := range []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[[]float64](), reflect.TypeFor[[]string](), reflect.TypeFor[mixed](),
		reflect.TypeFor[map[string]any](), reflect.TypeFor[[][16]int](), reflect.TypeFor[self](), reflect.TypeFor[wireError](),
	} {
		all = append(all, must(newCodec(t)))
		v := reflect.New(t)
		f.Add(must(all[len(all)-1].append(nil, v.UnsafePointer())))
	}
	f.Add(encodeError(fmt.Errorf("all: %w", errors.Join(&parseError{File: "a", Line: 1}, code(2), blank{}, &LostError{Rank: 1})), nil))
	f.Add([]byte("\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"))
	f.Add(bytes.Repeat([]byte("\x81"), 100))
	f.Add([]byte("\xa1at;5y\xaf\x82\x14\xcc\xcc0")) // a time so many seconds before 1970
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		_, err := decodeError(b)
		_ = errors.Is(err, io.EOF)
		for _, c := range all {
			v := reflect.New(c.typ)
			if c.decode(b, v.UnsafePointer()) != nil {
				continue
			}
			again, err := c.append(nil, v.UnsafePointer())
			if err != nil && strings.Contains(err.Error(), "time.Time year outside of range [0,9999]") { // no codec has sent it
				continue
			}
			if err != nil {
				t.Fatalf("%v: decoded %x, which cannot be encoded: %v", c.typ, b, err)
			}
			if err := c.decode(again, unsafe.Pointer(reflect.New(c.typ).UnsafePointer())); err != nil {
				t.Fatalf("%v: %x became %x: %v", c.typ, b, again, err)
			}
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	floats, m := make([]float64, 1e6), mixed{I: 1, S: "a string", M: map[string]int{"a": 1}}
	run("int", func() error { e, _ := Encode(7); return decodes[int](e) })
	run("floats", func() error { e, _ := Encode(floats); return decodes[[]float64](e) })
	run("struct", func() error { e, _ := Encode(m); return decodes[mixed](e) })
}
