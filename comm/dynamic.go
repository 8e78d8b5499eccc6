package comm

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// What lies in an any is known only when it is encoded. The encoder would follow a value that contains itself until the
// process dies, and the decoder at the other end refuses what it cannot put into an any again: both are found here, while
// somebody can still say where in the value.

// A misfit is a part of a value that cannot travel, and the path to it.
type misfit struct{ path, text string }

func (m *misfit) Error() string {
	const longest = 60 // that of a value that contains itself has no end
	switch {
	case m.path == "":
		return m.text
	case len(m.path) > longest:
		return m.path[:longest] + "..: " + m.text
	}
	return m.path + ": " + m.text
}

// at puts a step before the path.
func (m *misfit) at(step string) *misfit {
	m.path = step + m.path
	return m
}

// visit is where in a value a walk is.
type visit struct {
	inAny  bool // newCodec has not seen the types here
	levels int  // slices, maps and structs around it
	hops   int  // pointers and anys on the way
}

// misfitIn returns a part of v that can be encoded by nobody, or decoded by nobody; nil if there is none.
func misfitIn(v reflect.Value, at visit) *misfit {
	t := v.Type()
	if facts := factsOf(t); facts.marshals || !at.inAny && !facts.holdsAny {
		return nil
	}
	switch t.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if at.hops++; at.hops > 8*maxNested {
			return endless()
		}
		if t.Kind() == reflect.Interface {
			return misfitInAny(v.Interface(), at)
		}
		return misfitIn(v.Elem(), at)
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
		if (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && t.Elem().Kind() == reflect.Uint8 {
			return nil // bytes are one item
		}
		if t == reflect.TypeFor[cbor.Tag]() {
			at.levels-- // of the decoder's own making, and not counted by it
		}
		if at.levels++; at.levels > maxNested {
			return endless()
		}
		return misfitInside(v, at)
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr, reflect.Complex64, reflect.Complex128:
		return &misfit{text: fmt.Sprintf("%v cannot be encoded", t)}
	}
	return nil
}

// misfitInAny is misfitIn of what lies in an any: fast where that is as JSON has it.
func misfitInAny(v any, at visit) *misfit {
	at.inAny = true
	switch v := v.(type) {
	case nil, bool, int, int64, uint64, float64, string, []byte:
		return nil
	case []any:
		if at.levels++; at.levels > maxNested {
			return endless()
		}
		for i, x := range v {
			if m := misfitInAny(x, at); m != nil {
				return m.at("[" + strconv.Itoa(i) + "]")
			}
		}
		return nil
	case map[string]any:
		if at.levels++; at.levels > maxNested {
			return endless()
		}
		for key, x := range v {
			if m := misfitInAny(x, at); m != nil {
				return m.at(fmt.Sprintf("[%.20q]", key))
			}
		}
		return nil
	}
	return misfitIn(reflect.ValueOf(v), at)
}

func endless() *misfit {
	return &misfit{text: fmt.Sprintf("contains itself, or has more than %d levels: it cannot be encoded", maxNested)}
}

func misfitInside(v reflect.Value, at visit) *misfit {
	switch t := v.Type(); {
	case t.Kind() == reflect.Map:
		return misfitInMap(v, at)
	case t.Kind() == reflect.Struct:
		return misfitInStruct(v, at)
	case width(t.Elem().Kind()) > 0:
		return nil
	}
	for i := range v.Len() {
		if m := misfitIn(v.Index(i), at); m != nil {
			return m.at("[" + strconv.Itoa(i) + "]")
		}
	}
	return nil
}

func misfitInMap(v reflect.Value, at visit) *misfit {
	for key, value := range v.Seq2() {
		if key.Kind() == reflect.Interface {
			if key = key.Elem(); !key.IsValid() {
				continue
			}
			if k := key.Kind(); k != reflect.String && width(k) == 0 && key.Type() != timeType || factsOf(key.Type()).marshals {
				return (&misfit{text: fmt.Sprintf("%v cannot be encoded as a key that is an any", key.Type())}).at("[key]")
			}
		}
		if at.inAny && key.Kind() != reflect.String {
			return (&misfit{text: fmt.Sprintf("%v: in an any only maps with strings for keys can be encoded", key.Type())}).at("[key]")
		}
		if m := misfitIn(value, at); m != nil {
			return m.at(fmt.Sprintf("[%.20q]", fmt.Sprint(key)))
		}
	}
	return nil
}

func misfitInStruct(v reflect.Value, at visit) *misfit {
	t := v.Type()
	some := false
	for f := range t.Fields() {
		if !travels(f) {
			continue
		}
		some = true
		if m := misfitIn(v.FieldByIndex(f.Index), at); m != nil {
			return m.at("." + f.Name)
		}
	}
	if !some && t.NumField() > 0 {
		return &misfit{text: fmt.Sprintf("%v has no exported field: nothing of it would travel", t)}
	}
	return nil
}

// typeFacts are what misfitIn has to know of a type.
type typeFacts struct {
	marshals bool // the encoder leaves its values to methods of their own
	holdsAny bool // its values may hold an any
}

var knownFacts sync.Map // reflect.Type -> typeFacts

func factsOf(t reflect.Type) typeFacts {
	if f, ok := knownFacts.Load(t); ok {
		return f.(typeFacts)
	}
	f := typeFacts{marshals: marshalsItself(t)}
	f.holdsAny = findAny(t, map[reflect.Type]bool{})
	knownFacts.Store(t, f)
	return f
}

func findAny(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || marshalsItself(t) {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Map:
		return findAny(t.Key(), seen) || findAny(t.Elem(), seen)
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return findAny(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if travels(f) && findAny(f.Type, seen) {
				return true
			}
		}
	}
	return false
}

func marshalsItself(t reflect.Type) bool {
	switch {
	case t == timeType || t == bigIntType:
		return true
	case t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer:
		return false
	}
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[cbor.Marshaler]()) || p.Implements(reflect.TypeFor[encoding.BinaryMarshaler]())
}
