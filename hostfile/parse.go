package hostfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

const (
	maxLine     = 1 << 20 // bytes
	maxMentions = 1 << 20 // of hosts in one file, repetitions included
)

// A parser collects the nodes and the mistakes of one file or list.
type parser struct {
	name       string // of the file, for messages
	line       int    // 0 in a list
	comment    *Error // what to say if the comment that is open never ends; nil: none is
	groupSlots int    // of the hosts in this charmrun group; 0: not given
	counted    bool   // every bare mention is one slot: rule (d)
	cpus       int    // of each slot; 0: not given
	mentions   int
	nodes      []entry
	index      map[nodeKey]int // into nodes
	excluded   map[string]bool // by host
	warnings   []string
	errs       []error
	over       bool // there are more hosts than are taken
}

// A mention is what one place of the file says of a host.
type mention struct {
	Node
	keyed    bool // its slots are given by slots= or the like
	excluded bool // it is to be left out
}

// An entry is a node, with how it was named so far.
type entry struct {
	Node
	bare  int  // how often without a number of slots
	keyed bool // slots= was given
}

type nodeKey struct {
	host, user string
	port       int
}

func newParser(name string) *parser {
	return &parser{name: name, index: make(map[nodeKey]int), excluded: make(map[string]bool)}
}

// mention is one at the present line.
func (p *parser) mention() mention {
	return mention{Node: Node{Pos: p.name + ":" + strconv.Itoa(p.line)}}
}

// warn notes what is allowed, but perhaps not meant.
func (p *parser) warn(col int, format string, args ...any) {
	if len(p.warnings) < maxErrors {
		p.warnings = append(p.warnings, position(p.name, p.line, col)+": "+fmt.Sprintf(format, args...))
	}
}

func (p *parser) fail(col int, found, want string) {
	if p.full() {
		return
	}
	p.errs = append(p.errs, &Error{File: p.name, Line: p.line, Column: col, Found: found, Want: want})
}

// full reports whether enough mistakes were found to stop.
func (p *parser) full() bool { return p.over || len(p.errs) >= maxErrors }

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
		p.lineOf(p.words(string(text)))
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		p.line++
		p.fail(1, "a line of more than 1 MiB", "one host per line")
	case err != nil:
		p.errs = append(p.errs, fmt.Errorf("read hosts file %s: %w", p.name, err))
	case p.comment != nil && !p.full():
		p.errs = append(p.errs, p.comment)
	}
}

// add counts one mention of a host and reports whether there is room for more.
func (p *parser) add(t token, m mention) bool {
	key := nodeKey{m.Host, m.User, m.Port}
	i, known := p.index[key]
	if p.mentions++; !known && len(p.nodes) == MaxHosts || p.mentions > maxMentions {
		p.fail(t.col, t.text, fmt.Sprintf("at most %d hosts in all", MaxHosts))
		p.over = true
		return false
	}
	if m.excluded {
		p.excluded[m.Host] = true
		return true
	}
	if !known {
		i = len(p.nodes)
		p.index[key] = i
		p.nodes = append(p.nodes, entry{Node: m.Node})
	} else {
		p.nodes[i].Slots += m.Slots
	}
	e := &p.nodes[i]
	if m.Slots == 0 {
		e.bare++
	}
	if m.keyed && e.keyed {
		p.warn(t.col, "%s was given slots at %s already: together these are %d", m.Host, e.Pos, e.Slots)
	}
	e.keyed = e.keyed || m.keyed
	return true
}

// finish applies exclusions and rule (d), and returns the nodes, or the mistakes.
func (p *parser) finish() (*Hosts, error) {
	counted := p.counted || slices.ContainsFunc(p.nodes, func(e entry) bool { return e.bare > 1 })
	h := &Hosts{Source: p.name, CPUs: p.cpus, Warnings: p.warnings}
	for _, e := range p.nodes {
		if counted || e.Slots > 0 {
			e.Slots += e.bare
		}
		if !p.excluded[e.Host] {
			h.Nodes = append(h.Nodes, e.Node)
		}
	}
	switch {
	case len(p.errs) > 0:
	case len(p.nodes) > 0 && len(h.Nodes) == 0:
		p.errs = append(p.errs, &Error{File: p.name, Found: "every host excluded", Want: "at least one without ^"})
	case len(h.Nodes) == 0:
		p.errs = append(p.errs, &Error{File: p.name, Found: "no hosts", Want: "at least one, like node1 or node1:4"})
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return h, nil
}
