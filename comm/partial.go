package comm

import "fmt"

// The parts of a long result pass the hub as they come. It counts them, as an assembler does: a rank that sends more than a
// result can have is lost, and not the one that puts the parts together.

// part counts n bytes more of the result of a run.
func (m *member) part(run uint64, n int) error {
	if m.parts == nil {
		m.parts = make(map[uint64]int)
	}
	if m.parts[run] += n; m.parts[run] > maxSent {
		return fmt.Errorf("a result of run %#x that has more than %d bytes", run, maxSent)
	}
	all := 0
	for _, n := range m.parts {
		all += n
	}
	if all > maxUnfinished {
		return fmt.Errorf("it has begun to send results of more than %d bytes and finished none", maxUnfinished)
	}
	return nil
}
