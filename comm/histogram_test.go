package comm

import (
	"testing"
	"time"
)

func TestHistogramClasses(t *testing.T) {
	last := 0
	for d := time.Duration(1); d < 39*time.Hour; d += d/16 + 1 {
		class := classOf(d)
		if class != last && class != last+1 {
			t.Fatalf("%v is in class %d, after %d", d, class, last)
		}
		last = class
		if m := middle(class); class > 0 && (m-d > d/8 || d-m > d/8) {
			t.Fatalf("%v is in a class with middle %v", d, m)
		}
	}
	if c := classOf(1<<63 - 1); c != histogramLen-1 {
		t.Errorf("the longest duration is in class %d", c)
	}
}

func TestHistogramQuantiles(t *testing.T) {
	var h histogram
	if got := h.spread(); got != (Spread{}) {
		t.Errorf("of nothing: %+v", got)
	}
	for i := range 100 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	s := h.spread()
	near := func(got, want time.Duration) bool { return got > want-want/7 && got < want+want/7 }
	if !near(s.P50, 50*time.Millisecond) || !near(s.P95, 95*time.Millisecond) || s.Max != 100*time.Millisecond {
		t.Errorf("of 1 to 100 ms: %+v", s)
	}
	h = histogram{}
	h.add(time.Second)
	if got := h.spread(); got.P50 > time.Second || got.Max != time.Second {
		t.Errorf("of one second: %+v", got)
	}
}
