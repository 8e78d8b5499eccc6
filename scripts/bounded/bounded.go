// Package bounded holds fuzz targets to little memory, so that a few bytes which decode to gigabytes count as a failure.
package bounded

import (
	"flag"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
)

const (
	// Most is what one input may have a target allocate, in bytes, whatever is freed again.
	Most = 128 << 20

	softLimit = 256 << 20 // of the heap, beyond which the collector does all it can
	hardLimit = 2 << 30   // of the process, of which it dies
)

// Memory begins to watch what is allocated. The function that it returns fails t if that is more than Most:
//
//	f.Fuzz(func(t *testing.T, b []byte) {
//		defer bounded.Memory(t)()
//
// While the process fuzzes it is limited as a whole, too: what allocates too much at once ends it.
func Memory(t testing.TB) (check func()) {
	once.Do(limit)
	before := allocated()
	return func() {
		t.Helper()
		if n := allocated() - before; n > Most {
			t.Errorf("it has allocated %d bytes, at most %d are right", n, Most)
		}
	}
}

var once sync.Once

func limit() {
	if f := flag.Lookup("test.fuzzworker"); f != nil && f.Value.String() == "true" {
		debug.SetMemoryLimit(softLimit)
		limitData()
	}
}

// allocated is all that was ever allocated on the heap.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
