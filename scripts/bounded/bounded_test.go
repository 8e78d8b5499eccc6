package bounded

import "testing"

// A recorder is a test that may fail.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

var held []byte

func TestMemory(t *testing.T) {
	for bytes, fails := range map[int]bool{1 << 20: false, Most + 1: true} {
		r := &recorder{TB: t}
		check := Memory(r)
		held = make([]byte, bytes)
		held = nil
		if check(); r.failed != fails {
			t.Errorf("%d bytes: failed %v, want %v", bytes, r.failed, fails)
		}
	}
}
