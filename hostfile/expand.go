package hostfile

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxHosts is the largest number of hosts in an expression, a list or a file.
const MaxHosts = 65536

// Expand returns the names that a host expression of the Slurm, pdsh and Flux kind stands for, in order
// and with repetitions:
//
//	node[01-03,07]      node01 node02 node03 node07: zeros are kept to the width of the low bound
//	rack[0-1]n[0-1]     rack0n0 rack0n1 rack1n0 rack1n1: the last range varies fastest
//	a,b[1-2]-ib         a b1-ib b2-ib
//
// An expression of more than [MaxHosts] names is refused before it is expanded. Errors are of type [*Error].
func Expand(expr string) ([]string, error) {
	var all []string
	col := 1
	for _, item := range splitList(expr) {
		names, err := expandItem(item, MaxHosts-len(all))
		if err != nil {
			err.File, err.Column = "host expression", err.Column+col-1
			return nil, err
		}
		all = append(all, names...)
		col += len(item) + 1
	}
	return all, nil
}

// splitList splits s at the commas that stand outside brackets.
func splitList(s string) []string {
	var items []string
	start, inside := 0, false
	for i := range len(s) {
		switch s[i] {
		case '[':
			inside = true
		case ']':
			inside = false
		case ',':
			if !inside {
				items = append(items, s[start:i])
				start = i + 1
			}
		}
	}
	return append(items, s[start:])
}

// A span is one range of numbers, or a single one, within brackets.
type span struct{ low, high, width int }

// expandItem expands one item without commas outside brackets. Columns in its errors count from 1 at its start.
func expandItem(item string, max int) ([]string, *Error) {
	if item == "" {
		return nil, &Error{Column: 1, Want: "a host name"}
	}
	names := []string{""}
	for at := 0; at < len(item); {
		open := strings.IndexAny(item[at:], "[]")
		if open < 0 {
			return addLiteral(names, item[at:]), nil
		}
		open += at
		names = addLiteral(names, item[at:open])
		end := strings.IndexAny(item[open+1:], "[]")
		if item[open] == ']' || end < 0 || item[open+1+end] == '[' {
			return nil, &Error{Column: open + 1, Found: item[open:], Want: "a range in one pair of brackets, like [1-4,7]"}
		}
		end += open + 1
		spans, count, err := parseSpans(item[open+1:end], open+2)
		if err != nil {
			return nil, err
		}
		if count > max/len(names) { // never multiplied, so nothing can overflow
			return nil, &Error{Column: 1, Found: item, Want: fmt.Sprintf("at most %d hosts in all", MaxHosts)}
		}
		names = addSpans(names, spans, count)
		at = end + 1
	}
	return names, nil
}

// parseSpans reads the inside of brackets, which begins at column col, and counts the numbers in it.
func parseSpans(s string, col int) (spans []span, count int, err *Error) {
	for part := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		l, okLow := parseBound(low)
		h, okHigh := parseBound(high)
		if !okLow || !okHigh || h < l {
			return nil, 0, &Error{Column: col, Found: "[" + part + "]", Want: "numbers or ranges from low to high, like [01-04,7]"}
		}
		spans = append(spans, span{l, h, len(low)})
		count += h - l + 1
		if count > MaxHosts {
			return nil, 0, &Error{Column: col, Found: "[" + part + "]", Want: fmt.Sprintf("at most %d hosts in all", MaxHosts)}
		}
		col += len(part) + 1
	}
	return spans, count, nil
}

// parseBound reads a bound of a range: digits only, few enough for an int32.
func parseBound(s string) (int, bool) {
	const maxDigits = 20
	if s == "" || len(s) > maxDigits || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 32)
	return int(n), err == nil
}

func addLiteral(names []string, s string) []string {
	for i := range names {
		names[i] += s
	}
	return names
}

func addSpans(names []string, spans []span, count int) []string {
	out := make([]string, 0, len(names)*count)
	for _, name := range names {
		for _, s := range spans {
			for n := s.low; n <= s.high; n++ {
				out = append(out, fmt.Sprintf("%s%0*d", name, s.width, n))
			}
		}
	}
	return out
}
