package hostfile

import (
	"net/netip"
	"strconv"
	"strings"
)

const (
	maxSlots = 65536 // of one line
	maxPort  = 65535
	maxName  = 255 // bytes of a host or user name

	wantSlots = "a number from 1 to 65536"
	wantPort  = "a port from 1 to 65535"
	wantHost  = "a host name of letters, digits and . _ : % - that does not begin with a dash"
	wantUser  = "a user name of letters, digits and . _ - + @ \\ that does not begin with a dash"

	oneSlots = "one number of slots for a host in a line"
	onePort  = "one port for a host in a line"
	oneUser  = "one user for a host in a line"
)

// hosts adds the hosts of t, separated by commas; m holds what its line says of them all.
func (p *parser) hosts(t token, m mention) {
	for _, item := range splitList(t.text) {
		word := strings.TrimLeft(item, blank)
		p.host(token{strings.TrimRight(word, blank), t.col + len(item) - len(word)}, m)
		t.col += len(item) + 1
	}
}

// host adds the hosts of one item: [user@]expression[:slots] or ssh://[user@]host[:port]. With ^ before it, they are
// left out instead.
func (p *parser) host(t token, m mention) {
	if strings.ContainsAny(t.text, blank) {
		p.fail(t.col, t.text, "a comma between hosts")
		return
	}
	var rest string
	rest, m.excluded = strings.CutPrefix(t.text, "^")
	rest, isURL := strings.CutPrefix(rest, "ssh://")
	if isURL {
		rest = strings.TrimSuffix(rest, "/")
	}
	rest, ok := p.user(t, &m, rest)
	if !ok {
		return
	}
	expr, number, given := splitNumber(rest)
	if given && !p.afterColon(t, &m, number, isURL) {
		return
	}
	names, ok := p.names(t, expr)
	if !ok {
		return
	}
	for _, name := range names {
		if _, err := netip.ParseAddr(name); err != nil && strings.Contains(name, ":") {
			p.fail(t.col, t.text, "host:slots with one colon, or an IPv6 address")
			return
		}
		m.Host = name
		if !validHost(name) {
			p.fail(t.col, t.text, wantHost)
			return
		}
		if !p.add(t, m) {
			return
		}
	}
}

// user takes the user off an item, if it has one.
func (p *parser) user(t token, m *mention, item string) (rest string, ok bool) {
	at := strings.LastIndexByte(item, '@')
	if at < 0 {
		return item, true
	}
	if m.User != "" {
		p.fail(t.col, t.text, oneUser)
		return "", false
	}
	m.User = item[:at]
	if !validUser(m.User) || strings.Contains(m.User, "@") {
		p.fail(t.col, t.text, wantUser+", then @ and the host")
		return "", false
	}
	return item[at+1:], true
}

// afterColon takes in the number behind an item's colon: slots, or in a URL the port.
func (p *parser) afterColon(t token, m *mention, number string, isURL bool) (ok bool) {
	to, max, want := &m.Slots, maxSlots, wantSlots
	given, one := m.keyed, oneSlots
	if isURL {
		to, max, want = &m.Port, maxPort, wantPort
		given, one = m.Port != 0, onePort
	}
	if given {
		p.fail(t.col, t.text, one)
		return false
	}
	v, err := parseNumber(number, max)
	if err != nil {
		p.fail(t.col+strings.LastIndexByte(t.text, ':')+1, t.text, want+" after the colon")
		return false
	}
	*to = v
	return true
}

// names are the hosts of an expression.
func (p *parser) names(t token, expr string) (names []string, ok bool) {
	if address, isIPv6 := unbracket(expr); isIPv6 {
		return []string{address}, true
	}
	if !strings.ContainsAny(expr, "[]") {
		return []string{expr}, true
	}
	names, err := expandItem(expr, MaxHosts)
	if err != nil {
		p.fail(t.col+strings.LastIndex(t.text, expr)+err.Column-1, err.Found, err.Want)
		return nil, false
	}
	return names, true
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
