package comm

import (
	"encoding"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

var (
	timeType   = reflect.TypeFor[time.Time]()
	bigIntType = reflect.TypeFor[big.Int]()
)

// schemaOf describes a type as it travels, the same text on every platform: ranks compare these texts before they talk.
// The error of a type that cannot travel names the path to the culprit.
func schemaOf(t reflect.Type) (string, error) {
	d := describer{open: map[reflect.Type]bool{}}
	return d.describe(t, "")
}

type describer struct {
	open map[reflect.Type]bool // types being described: meeting one again is a cycle
}

func (d *describer) describe(t reflect.Type, path string) (string, error) {
	if text, ok := opaque(t); ok {
		return text, nil
	}
	if d.open[t] {
		return "", culprit(path, "%v contains itself: a cyclic type cannot be encoded", t)
	}
	d.open[t] = true
	defer delete(d.open, t)
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return t.Kind().String(), nil
	case reflect.Slice:
		text, err := d.describe(t.Elem(), path+"[]")
		return "[]" + text, err
	case reflect.Array:
		text, err := d.describe(t.Elem(), path+"[]")
		return "[" + strconv.Itoa(t.Len()) + "]" + text, err
	case reflect.Pointer:
		text, err := d.describe(t.Elem(), path)
		return "*" + text, err
	case reflect.Map:
		key, err := d.describe(t.Key(), path+"[key]")
		if err != nil {
			return "", err
		}
		text, err := d.describe(t.Elem(), path+"[]")
		return "map[" + key + "]" + text, err
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return "any", nil
		}
		return "", culprit(path, "%v: of interfaces only any can be encoded", t)
	case reflect.Struct:
		return d.describeStruct(t, path)
	}
	return "", culprit(path, "%v cannot be encoded", t)
}

func (d *describer) describeStruct(t reflect.Type, path string) (string, error) {
	var fields []string
	for f := range t.Fields() {
		if !travels(f) {
			continue
		}
		text, err := d.describe(f.Type, path+"."+f.Name)
		if err != nil {
			return "", err
		}
		if tag := fieldTag(f); tag != "" {
			text += " " + strconv.Quote(tag)
		}
		fields = append(fields, f.Name+" "+text)
	}
	if len(fields) == 0 && t.NumField() > 0 {
		return "", culprit(path, "%v has no exported field: nothing of it would travel", t)
	}
	return "{" + strings.Join(fields, "; ") + "}", nil
}

// travels says whether the encoder takes a field.
func travels(f reflect.StructField) bool {
	return fieldTag(f) != "-" && (f.IsExported() || f.Anonymous && f.Type.Kind() == reflect.Struct)
}

// fieldTag returns the tag that the encoder obeys.
func fieldTag(f reflect.StructField) string {
	if tag := f.Tag.Get("cbor"); tag != "" {
		return tag
	}
	return f.Tag.Get("json")
}

// opaque says whether a type encodes itself, and how its schema reads.
func opaque(t reflect.Type) (string, bool) {
	switch {
	case t == timeType:
		return "time", true
	case t == bigIntType:
		return "bigint", true
	case t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer:
		return "", false
	}
	p := reflect.PointerTo(t)
	if p.Implements(reflect.TypeFor[cbor.Marshaler]()) && p.Implements(reflect.TypeFor[cbor.Unmarshaler]()) ||
		p.Implements(reflect.TypeFor[encoding.BinaryMarshaler]()) && p.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]()) {
		return "binary(" + t.String() + ")", true
	}
	return "", false
}

func culprit(path, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if path == "" {
		return errors.New(text)
	}
	return errors.New(path + ": " + text)
}

// elementSize returns the size of the largest value of which one message can hold any number.
func elementSize(t reflect.Type) uintptr {
	if _, ok := opaque(t); ok {
		return 0
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		return max(t.Elem().Size(), elementSize(t.Elem()))
	case reflect.Array:
		return elementSize(t.Elem())
	case reflect.Map:
		return max(t.Key().Size()+t.Elem().Size(), elementSize(t.Key()), elementSize(t.Elem()))
	case reflect.Interface:
		return 64 // the empty map, which takes one byte on the wire
	case reflect.Struct:
		var size uintptr
		for f := range t.Fields() {
			size = max(size, elementSize(f.Type))
		}
		return size
	}
	return 0
}
