package hostfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

const (
	maxLine     = 1 << 20 // bytes
	maxMentions = 1 << 20 // of hosts in one file, repetitions included
	maxSlots    = 65536   // of one line
	maxName     = 255     // bytes of a host or user name

	wantSlots = "a number from 1 to 65536"
	wantPort  = "a port from 1 to 65535"
	wantHost  = "a host name of letters, digits and . _ : % - that does not begin with a dash"
	wantUser  = "a user name of letters, digits and . _ - + @ \\ that does not begin with a dash"
)

// A parser collects the nodes and the mistakes of one file or list.
type parser struct {
	name     string // of the file, for messages
	line     int    // 0 in a list
	mentions int
	nodes    []entry
	index    map[nodeKey]int // into nodes
	errs     []error
}

// An entry is a node with how often it was named without a number of slots.
type entry struct {
	Node
	bare int
}

type nodeKey struct {
	host, user string
	port       int
}

// A token is a word of the file and the column it begins at.
type token struct {
	text string
	col  int
}

func newParser(name string) *parser {
	return &parser{name: name, index: make(map[nodeKey]int)}
}

func (p *parser) fail(col int, found, want string) {
	if p.full() {
		return
	}
	p.errs = append(p.errs, &Error{File: p.name, Line: p.line, Column: col, Found: found, Want: want})
}

// full reports whether enough mistakes were found to stop.
func (p *parser) full() bool { return len(p.errs) >= maxErrors }

func (p *parser) file(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() && !p.full() {
		p.line++
		text := lines.Bytes()
		if p.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
			if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
				p.fail(1, "UTF-16 text", "UTF-8")
				return
			}
		}
		p.fields(tokens(string(text)))
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		p.line++
		p.fail(1, "a line of more than 1 MiB", "one host per line")
	case err != nil:
		p.errs = append(p.errs, fmt.Errorf("read hosts file %s: %w", p.name, err))
	}
}

// tokens splits a line at blanks, without its comment.
func tokens(line string) []token {
	line, _, _ = strings.Cut(line, "#")
	const blank = " \t\r\v\f"
	var ts []token
	for at := 0; ; {
		rest := strings.TrimLeft(line[at:], blank)
		if rest == "" {
			return ts
		}
		at = len(line) - len(rest)
		end := strings.IndexAny(rest, blank)
		if end < 0 {
			end = len(rest)
		}
		ts = append(ts, token{rest[:end], at + 1})
		at += end
	}
}

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
		number(&n.Port, 65535, wantPort)
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

// hosts adds the hosts of t, separated by commas; n holds what its line says of them all.
func (p *parser) hosts(t token, n Node) {
	for _, item := range splitList(t.text) {
		p.host(token{item, t.col}, n)
		t.col += len(item) + 1
	}
}

// host adds the hosts of one item: [user@]expression[:slots] or ssh://[user@]host[:port].
func (p *parser) host(t token, n Node) {
	rest, isURL := strings.CutPrefix(t.text, "ssh://")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		n.User, rest = rest[:at], rest[at+1:]
		if !validUser(n.User) || strings.Contains(n.User, "@") {
			p.fail(t.col, t.text, wantUser+", then @ and the host")
			return
		}
	}
	expr, number, ok := splitNumber(rest)
	if ok {
		to, max, want := &n.Slots, maxSlots, wantSlots
		if isURL {
			to, max, want = &n.Port, 65535, wantPort
		}
		v, err := parseNumber(number, max)
		if err != nil {
			p.fail(t.col+len(t.text)-len(number), t.text, want+" after the colon")
			return
		}
		*to = v
	}
	names := []string{expr}
	if address, isIPv6 := unbracket(expr); isIPv6 {
		names[0] = address
	} else if strings.ContainsAny(expr, "[]") {
		var err error
		if names, err = expandItem(expr, MaxHosts); err != nil {
			e := asError(err)
			p.fail(t.col+len(t.text)-len(rest)+e.Column-1, e.Found, e.Want)
			return
		}
	}
	for _, name := range names {
		n.Host = name
		if !validHost(name) {
			p.fail(t.col, t.text, wantHost)
			return
		}
		if !p.add(t, n) {
			return
		}
	}
}

// splitNumber splits host:N. An IPv6 address is split only behind its bracket.
func splitNumber(s string) (host, number string, ok bool) {
	colon := strings.LastIndexByte(s, ':')
	switch {
	case colon < 0 || colon < strings.LastIndexByte(s, ']'):
		return s, "", false
	case s[0] != '[' && strings.Count(s, ":") > 1:
		return s, "", false
	}
	return s[:colon], s[colon+1:], true
}

// unbracket returns the address in [address], if s is that and not a range.
func unbracket(s string) (string, bool) {
	inner, ok := strings.CutPrefix(s, "[")
	inner, ok2 := strings.CutSuffix(inner, "]")
	return inner, ok && ok2 && strings.Contains(inner, ":") && !strings.ContainsAny(inner, "[]")
}

// add counts one mention of a host and reports whether there is room for more.
func (p *parser) add(t token, n Node) bool {
	key := nodeKey{n.Host, n.User, n.Port}
	i, known := p.index[key]
	if p.mentions++; !known && len(p.nodes) == MaxHosts || p.mentions > maxMentions {
		p.fail(t.col, t.text, fmt.Sprintf("at most %d hosts in all", MaxHosts))
		return false
	}
	if !known {
		i = len(p.nodes)
		p.index[key] = i
		p.nodes = append(p.nodes, entry{Node: n})
	} else {
		p.nodes[i].Slots += n.Slots
	}
	if n.Slots == 0 {
		p.nodes[i].bare++
	}
	return true
}

// finish applies rule (d) and returns the nodes, or the mistakes.
func (p *parser) finish() ([]Node, error) {
	if len(p.nodes) == 0 && len(p.errs) == 0 {
		p.errs = append(p.errs, &Error{File: p.name, Found: "no hosts", Want: "at least one, like node1 or node1:4"})
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	counted := slices.ContainsFunc(p.nodes, func(e entry) bool { return e.bare > 1 })
	nodes := make([]Node, len(p.nodes))
	for i, e := range p.nodes {
		if counted || e.Slots > 0 {
			e.Slots += e.bare
		}
		nodes[i] = e.Node
	}
	return nodes, nil
}

func parseNumber(s string, max int) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err == nil && (n == 0 || n > uint64(max)) {
		err = strconv.ErrRange
	}
	return int(n), err
}

// validHost reports whether s can be a host name: nothing a shell or an option parser would take otherwise.
func validHost(s string) bool { return validWord(s, "._:%-") }

func validUser(s string) bool { return validWord(s, "._-+@\\") }

func validWord(s, extra string) bool {
	return s != "" && len(s) <= maxName && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(extra, r))
	})
}
