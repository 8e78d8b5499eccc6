package comm

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

type wide struct {
	Name   string
	Values [512]float64
}

// Messages that would fill the memory are refused before they do, and those that are taken fill no more than 64 times
// their length and some MB (three times that, with what was outgrown on the way).
func TestDecodeBombs(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(256 << 20))
	const much = 500_000
	for name, c := range map[string]struct {
		b    []byte
		f    func([]byte) error
		want string // "": it is decoded
	}{
		"array of 2^63":           {[]byte("\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"), decodes[[]string], "exceeded max number"},
		"array of 2^64-1":         {[]byte("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), decodes[any], "too large"},
		"array of 2^27":           {[]byte("\x9a\x08\x00\x00\x00\xf6"), decodes[any], "EOF"},
		"map of 2^64-1":           {[]byte("\xbb\xff\xff\xff\xff\xff\xff\xff\xff"), decodes[map[string]any], "too large"},
		"text of 2^62":            {[]byte("\x7b\x3f\xff\xff\xff\xff\xff\xff\xff"), decodes[any], "EOF"},
		"bytes of 2^64-1":         {[]byte("\x5b\xff\xff\xff\xff\xff\xff\xff\xff"), decodes[any], "too large"},
		"half a million levels":   {bytes.Repeat([]byte("\x81"), much), decodes[any], "exceeded max nested level"},
		"half a million open":     {bytes.Repeat([]byte("\x9f"), much), decodes[any], "exceeded max nested level"},
		"half a million tags":     {bytes.Repeat([]byte("\xc6"), much), decodes[any], "exceeded max nested level"},
		"empty wide structs":      {array(much, "\xa0"), decodes[[]wide], ErrDecodeBudget.Error()},
		"wide nils":               {array(much, "\xf6"), decodes[[]wide], ErrDecodeBudget.Error()},
		"pointers to wide":        {array(much, "\xa0"), decodes[[]*wide], ErrDecodeBudget.Error()},
		"wide in maps":            {array(much, "\xa1\x01\xa0"), decodes[[]map[int]wide], ErrDecodeBudget.Error()},
		"open array of wide":      {append(append([]byte("\x9f"), bytes.Repeat([]byte("\xa0"), much)...), 0xff), decodes[[]wide], ErrDecodeBudget.Error()},
		"wide in an array type":   {array(much, "\xf6"), decodes[[][1000]int], ErrDecodeBudget.Error()},
		"half a million nils":     {array(much, "\xf6"), decodes[any], ""},
		"half a million maps":     {array(much, "\xa0"), decodes[any], ""},
		"empty arrays":            {array(much, "\x80"), decodes[[][]string], ""},
		"duplicate keys":          {append([]byte("\xba\x00\x07\xa1\x20"), bytes.Repeat([]byte("\x01\x02"), much)...), decodes[map[int]int], ""},
		"pieces of text":          {append(append([]byte("\x7f"), bytes.Repeat([]byte("\x61a"), much)...), 0xff), decodes[string], ""},
		"pieces of text in any":   {append(append([]byte("\x7f"), bytes.Repeat([]byte("\x61a"), much)...), 0xff), decodes[any], ""},
		"number of 500,000 bytes": {append([]byte("\xc2\x5a\x00\x07\xa1\x20"), bytes.Repeat([]byte("\xff"), much)...), decodes[any], ""},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := c.f(c.b)
		runtime.ReadMemStats(&after)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if used, most := after.TotalAlloc-before.TotalAlloc, uint64(3*64*len(c.b)+8<<20); used > most {
			t.Errorf("%s: %d bytes took %d, want at most %d", name, len(c.b), used, most)
		}
	}
}

// array is a CBOR array of n times the same.
func array(n uint32, item string) []byte {
	b := []byte{0x9a, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return append(b, strings.Repeat(item, int(n))...)
}
