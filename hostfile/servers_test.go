package hostfile

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseServers(t *testing.T) {
	for list, want := range map[string]string{
		"node-1":                      "node-1 60000 0",
		"a,b:7070,c*4":                "a 60000 0; b 7070 0; c 60000 4",
		"rack[1-2]:7*3, [::1]:8, ::1": "rack1 7 3; rack2 7 3; ::1 8 0; ::1 60000 0",
		"a:1,a:2":                     "a 1 0; a 2 0",
	} {
		nodes, err := ParseServers(list, 60000)
		var got []string
		for _, n := range nodes {
			got = append(got, fmt.Sprintf("%s %d %d", n.Host, n.Port, n.Slots))
		}
		if err != nil || strings.Join(got, "; ") != want {
			t.Errorf("%s: %q, %v, want %q", list, got, err, want)
		}
	}
	for _, list := range []string{"", "a,,b", "a*", "a*0", "a*x", "a:0", "a:70000", "u@a", "-a", "a b", "^a", "a/b", "a,a", "$(x)", "a*2*3"} {
		if nodes, err := ParseServers(list, 60000); err == nil {
			t.Errorf("%q gives %v, want an error", list, nodes)
		}
	}
}
