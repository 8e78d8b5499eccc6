package comm

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

type chain struct {
	Next any
	Done any
	own  int
}

type labels map[any]any

// TestAnyValues encodes what no type says: what cannot travel is named before it is sent, and all else arrives.
func TestAnyValues(t *testing.T) {
	self := &chain{}
	self.Next = self
	loop := map[string]any{"a": 1}
	loop["me"] = []any{1, loop}
	var box any
	box = &box
	ring := make([]any, 1)
	ring[0] = ring
	for name, c := range map[string]struct{ value, want any }{
		"nil":             {nil, nil},
		"nil pointer":     {(*chain)(nil), nil},
		"numbers":         {[]any{int8(1), uint16(2), 2.5}, []any{int64(1), int64(2), 2.5}},
		"large number":    {uint64(math.MaxUint64), *new(big.Int).SetUint64(math.MaxUint64)},
		"unexported part": {chain{Next: 1, own: 2}, map[string]any{"Next": int64(1), "Done": nil}},
		"time":            {[]any{time.Unix(0, 5).UTC()}, []any{"1970-01-01T00:00:00.000000005Z"}},
		"marshals itself": {stamp{7}, []byte{7}},
		"keys":            {map[title]any{"a": true}, map[string]any{"a": true}},

		"channel":        {make(chan int), errors.New("chan int cannot be encoded")},
		"nil channel":    {struct{ C chan int }{}, errors.New(".C: chan int cannot be encoded")},
		"function":       {[]any{0, func() {}}, errors.New("[1]: func() cannot be encoded")},
		"complex":        {3i, errors.New("complex128 cannot be encoded")},
		"deep in it":     {&chain{Next: &chain{Next: map[string]any{"k": []any{1, chain{Done: make(chan bool)}}}}}, errors.New(`.Next.Next["k"][1].Done: chan bool cannot be encoded`)},
		"lock":           {&sync.Mutex{}, errors.New("sync.Mutex has no exported field: nothing of it would travel")},
		"error":          {[]any{errors.New("x")}, errors.New("[0]: errors.errorString has no exported field: nothing of it would travel")},
		"key of numbers": {map[int]string{1: "a"}, errors.New("[key]: int: in an any only maps with strings for keys can be encoded")},
		"any for a key":  {map[any]int{1.5: 2}, errors.New("[key]: float64: in an any only maps with strings for keys can be encoded")},

		"struct in itself": {self, errors.New(".Next.Next.Next.Next.Next.Next.Next.Next.Next.Next.Next.Next..: contains itself, or has more than 32 levels: it cannot be encoded")},
		"map in itself":    {loop, errors.New(`["me"][1]["me"][1]["me"][1]["me"][1]["me"][1]["me"][1]["me"]..: contains itself, or has more than 32 levels: it cannot be encoded`)},
		"slice in itself":  {ring, errors.New("[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]..: contains itself, or has more than 32 levels: it cannot be encoded")},
		"any in itself":    {box, errors.New("contains itself, or has more than 32 levels: it cannot be encoded")},
	} {
		b, err := Encode(c.value)
		var got any = err
		if err == nil {
			if got, err = Decode[any](b); err != nil {
				t.Errorf("%s: encoded, but not decoded: %v", name, err)
			}
		}
		if want, ok := c.want.(error); ok {
			if err == nil || err.Error() != want.Error() {
				t.Errorf("%s: got %v\nwant %v", name, got, want)
			}
		} else if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %#v, want %#v", name, got, c.want)
		}
	}
	trip(t, labels{"a": int64(1), int64(2): true, 2.5: nil, nil: []any{"x"}})
	for _, key := range []any{[2]int{1, 2}, inner2{}, stamp{}} {
		if _, err := Encode(labels{key: 1}); err == nil || !strings.HasSuffix(err.Error(), "cannot be encoded as a key that is an any") {
			t.Errorf("key %T: %v", key, err)
		}
	}
}

type title string

type stamp struct{ v byte }

func (s stamp) MarshalBinary() ([]byte, error) { return []byte{s.v}, nil }

// A NaN is no key that is found again, but it travels.
func TestNaNKeys(t *testing.T) {
	b, err := Encode(map[float64]int{math.NaN(): 1, math.NaN(): 2, 3: 4})
	got, err2 := Decode[map[float64]int](b)
	if err != nil || err2 != nil || len(got) != 3 || got[3] != 4 {
		t.Errorf("%v %v %v", got, err, err2)
	}
}

// Whatever is encoded is decoded again, however many levels it has.
func TestWhatIsEncodedIsDecoded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 20_000 {
		v := nest(r, 25+r.IntN(12))
		b, err := Encode(v)
		if err != nil {
			refused++
			continue
		}
		if _, err := Decode[any](b); err != nil {
			t.Fatalf("%#v: %v", v, err)
		}
	}
	if refused == 0 || refused == 20_000 {
		t.Errorf("%d are refused", refused)
	}
}

// nest is a value of some levels.
func nest(r *rand.Rand, levels int) any {
	if levels == 0 {
		return []any{nil, true, "s", []byte("b"), uint64(1 << 63), -1.5, big.NewInt(5), time.Unix(0, 0), []int{}, [2]byte{}, []any{}, map[string]any{}}[r.IntN(12)]
	}
	v := nest(r, levels-1)
	switch r.IntN(6) {
	case 0:
		return map[string]any{"x": v, "y": 1}
	case 1:
		return &chain{Done: v}
	case 2:
		return struct{ V any }{v}
	case 3:
		return [2]any{1, v}
	case 4:
		return &v
	}
	return []any{v}
}
