package hostfile

import (
	"slices"
	"strings"
)

// fields parses the words of one line: hosts, then key=value pairs that hold for all of them.
func (p *parser) fields(ws []token) {
	m := p.mention()
	before := len(p.errs)
	for _, w := range ws[1:] {
		key, value, ok := strings.Cut(w.text, "=")
		if !ok {
			p.fail(w.col, w.text, "key=value after the host, with one of the keys "+strings.Join(keys, ", "))
			continue
		}
		p.field(w, key, unquote(value), &m)
	}
	if len(p.errs) == before {
		p.hosts(token{unquote(ws[0].text), ws[0].col}, m)
	}
}

// field puts one setting into m; w is how it is written.
func (p *parser) field(w token, key, value string, m *mention) {
	switch key {
	case "slots", "cpu", "count", "++cpus":
		if m.keyed {
			p.fail(w.col, w.text, oneSlots)
		}
		p.number(w, value, &m.Slots, maxSlots, wantSlots)
		m.keyed = true
	case "max_slots", "max-slots", "slots_max":
		p.number(w, value, new(int), maxSlots, wantSlots)
	case "port":
		if m.Port != 0 {
			p.fail(w.col, w.text, onePort)
		}
		p.number(w, value, &m.Port, maxPort, wantPort)
	case "user", "username":
		switch {
		case m.User != "":
			p.fail(w.col, w.text, oneUser)
		case !validUser(value):
			p.fail(w.col, w.text, wantUser)
		}
		m.User = value
	case "binding", "++shell", "++speed", "++home", "++pathfix":
		p.warn(w.col, "%s is not used", printable(w.text))
	default:
		p.fail(w.col, w.text, unknownKey(key))
	}
}

// number reads the value of w as a number from 1 to max.
func (p *parser) number(w token, value string, to *int, max int, want string) bool {
	v, err := parseNumber(value, max)
	if err != nil {
		p.fail(w.col, w.text, want)
		return false
	}
	*to = v
	return true
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
