package hostfile

import (
	"slices"
	"strconv"
	"strings"
)

// fields parses the words of one line: hosts, then key=value pairs that hold for all of them.
func (p *parser) fields(ts []token) {
	if len(ts) == 0 {
		return
	}
	n := Node{Pos: p.name + ":" + strconv.Itoa(p.line)}
	before := len(p.errs)
	for _, t := range ts[1:] {
		p.field(t, &n)
	}
	if len(p.errs) == before {
		p.hosts(ts[0], n)
	}
}

// field parses one key=value pair into n.
func (p *parser) field(t token, n *Node) {
	key, value, ok := strings.Cut(t.text, "=")
	value = strings.Trim(value, `"`)
	number := func(to *int, max int, want string) {
		v, err := parseNumber(value, max)
		if err != nil {
			p.fail(t.col, t.text, want)
		}
		*to = v
	}
	switch {
	case !ok:
		p.fail(t.col, t.text, "key=value after the host, with one of the keys "+strings.Join(keys, ", "))
	case key == "slots" || key == "cpu" || key == "count":
		number(&n.Slots, maxSlots, wantSlots)
	case key == "max_slots" || key == "max-slots" || key == "slots_max":
		number(new(int), maxSlots, wantSlots)
	case key == "port":
		number(&n.Port, maxPort, wantPort)
	case key == "user":
		n.User = value
		if !validUser(value) {
			p.fail(t.col, t.text, wantUser)
		}
	default:
		p.fail(t.col, t.text, unknownKey(key))
	}
}

var keys = []string{"slots", "max_slots", "port", "user"}

// unknownKey says which keys there are and which of them was probably meant.
func unknownKey(key string) string {
	want := "one of the keys " + strings.Join(keys, ", ")
	near := slices.MinFunc(keys, func(a, b string) int { return distance(key, a) - distance(key, b) })
	if distance(key, near) <= 2 {
		want += " (did you mean " + near + "=?)"
	}
	return want
}

// distance is the number of insertions, deletions and substitutions between a and b (Levenshtein), where
// long strings count as far away.
func distance(a, b string) int {
	if len(a) > 20 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
