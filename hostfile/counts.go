package hostfile

import (
	"strconv"
	"strings"
)

// parseCounts reads what Slurm writes for n nodes: 2(x3),1 is 2 2 2 1. Counts for more nodes than n are left unread,
// for repetitions may exceed the nodes; fewer are an error.
func parseCounts(s string, n int) ([]int, error) {
	var counts []int
	for part := range strings.SplitSeq(s, ",") {
		number, times, repeated := strings.Cut(part, "(x")
		count, err := parseNumber(number, maxSlots)
		if err != nil {
			return nil, err
		}
		repeat := 1
		if repeated {
			digits, closed := strings.CutSuffix(times, ")")
			if repeat, err = parseNumber(digits, 1<<30); err != nil || !closed {
				return nil, strconv.ErrSyntax
			}
		}
		for range min(repeat, n-len(counts)) {
			counts = append(counts, count)
		}
	}
	if len(counts) < n {
		return nil, strconv.ErrRange
	}
	return counts, nil
}
