package hostfile

import (
	"fmt"
	"strings"
)

// ParseServers reads a list of ppservers: node-1,node-2:7070,node-[3-5]*4 are five, of which the last three shall run four
// ranks each. The port is the one given here where the list has none.
func ParseServers(list string, port int) ([]Node, error) {
	var all []Node
	seen := map[string]bool{}
	for _, item := range splitList(list) {
		item = strings.Trim(item, blank)
		name, number, counted := strings.Cut(item, "*")
		slots := 0
		if counted {
			var err error
			if slots, err = parseNumber(number, maxSlots); err != nil {
				return nil, fmt.Errorf("%q: want %s after the star", item, wantSlots)
			}
		}
		hosts, err := ParseList("ssh://" + name)
		if err != nil || strings.ContainsAny(name, "@^/") {
			return nil, fmt.Errorf("%q: want a server as host, host:port or host*slots", item)
		}
		for _, n := range hosts.Nodes {
			if n.Port == 0 {
				n.Port = port
			}
			n.Slots, n.Pos = slots, ""
			if key := fmt.Sprint(n.Host, " ", n.Port); seen[key] {
				return nil, fmt.Errorf("%q: %s is named twice: want each server once", item, n.Host)
			} else {
				seen[key] = true
			}
			all = append(all, n)
		}
	}
	return all, nil
}
