package hostfile

import "strings"

// lineOf parses the words of one line, in the dialect they show.
func (p *parser) lineOf(ws []token) {
	switch {
	case len(ws) == 0:
	case isGridEngine(ws):
		p.gridEngine(ws)
	case isCharm(ws):
		p.charm(ws)
	default:
		p.fields(ws)
	}
}

// isGridEngine recognises a line of Grid Engine's PE_HOSTFILE: host slots queue processors; or only host slots.
func isGridEngine(ws []token) bool {
	return (len(ws) == 4 || len(ws) == 2) && strings.Trim(ws[1].text, "0123456789") == ""
}

func (p *parser) gridEngine(ws []token) {
	m := p.mention()
	if p.number(ws[1], ws[1].text, &m.Slots, maxSlots, wantSlots) {
		p.hosts(ws[0], m)
	}
}

// isCharm recognises the lines of a charmrun nodelist: group NAME or host NAME, and ++options with values.
func isCharm(ws []token) bool {
	return (ws[0].text == "host" || ws[0].text == "group") && len(ws) > 1 && !strings.Contains(ws[1].text, "=")
}

func (p *parser) charm(ws []token) {
	m := p.mention()
	m.Slots = p.groupSlots
	before := len(p.errs)
	for i := 2; i < len(ws); i += 2 {
		option := ws[i]
		value := ""
		if i+1 < len(ws) {
			value = ws[i+1].text
			option.text += " " + value
		}
		p.field(option, ws[i].text, value, &m)
	}
	switch {
	case len(p.errs) > before:
	case ws[0].text == "group":
		p.groupSlots = m.Slots
	default:
		p.hosts(ws[1], m)
	}
}
