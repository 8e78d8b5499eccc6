package place

import (
	"reflect"
	"testing"
)

func TestParseProof(t *testing.T) {
	for _, c := range []struct {
		uri  string
		want Proof
		ok   bool
	}{
		{"pprun://job/x/hub", Proof{job: "x", hub: true}, true},
		{"pprun://job/x/node/3/ranks/0-3,8", Proof{job: "x", node: 3, ranks: [][2]int{{0, 3}, {8, 8}}}, true},
		{"pprun://job/x/node//ranks/0", Proof{}, false},
		{"pprun://job/x/node/-1/ranks/0", Proof{}, false},
		{"pprun://job/x/node/3/ranks/", Proof{}, false},
		{"pprun://job/x/node/3/ranks/3-1", Proof{}, false},
		{"pprun://job/x/node/3/ranks/1,-", Proof{}, false},
		{"pprun://job/x/node/3/ranks/99999999999", Proof{}, false},
		{"pprun://job//hub", Proof{}, false},
		{"https://job/x/hub", Proof{}, false},
		{"", Proof{}, false},
	} {
		p, err := parseProof(c.uri)
		if (err == nil) != c.ok || c.ok && !reflect.DeepEqual(p, c.want) {
			t.Errorf("%q: %+v, %v", c.uri, p, err)
		}
	}
	p := Proof{node: 2, ranks: [][2]int{{0, 3}, {8, 8}}}
	for rank, want := range map[int]bool{0: true, 3: true, 4: false, 8: true, 9: false, -1: false} {
		if p.Holds(rank, 2) != want || p.Holds(rank, 1) {
			t.Errorf("0-3,8 of node 2 holds %d: %v, on node 1: %v", rank, p.Holds(rank, 2), p.Holds(rank, 1))
		}
	}
}
