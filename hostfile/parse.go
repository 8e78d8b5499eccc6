package hostfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	maxLine     = 1 << 20 // bytes
	maxMentions = 1 << 20 // of hosts in one file, repetitions included
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
