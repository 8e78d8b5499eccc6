package comm

import (
	"math/bits"
	"time"
)

// A histogram counts durations in classes that are an eighth of their size apart from their middle, at most: four for
// each doubling, from 128 ns to some 39 hours. It takes 650 bytes.
type histogram struct {
	counts [histogramLen]uint32
	max    time.Duration
}

const (
	histogramLen   = 1 + 4*40
	histogramFirst = 7 // binary logarithm of the first class's upper end
)

func (h *histogram) add(d time.Duration) {
	h.max = max(h.max, d)
	h.counts[classOf(d)]++
}

func classOf(d time.Duration) int {
	if d < 1<<histogramFirst {
		return 0
	}
	log := bits.Len64(uint64(d)) - 1
	return min(1+4*(log-histogramFirst)+int(d>>(log-2))&3, histogramLen-1)
}

// middle returns the middle of a class.
func middle(class int) time.Duration {
	if class == 0 {
		return 1 << (histogramFirst - 1)
	}
	log := histogramFirst + (class-1)/4
	return time.Duration(4+(class-1)%4)<<(log-2) + 1<<(log-3)
}

// quantile returns a duration that the fraction q of all do not exceed, 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	total := uint64(0)
	for _, n := range h.counts {
		total += uint64(n)
	}
	left := uint64(q*float64(total)) + 1
	for class, n := range h.counts {
		if left <= uint64(n) {
			return min(middle(class), h.max)
		}
		left -= uint64(n)
	}
	return h.max
}
