package launch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestMap(t *testing.T) {
	two := []capacity{{"a", 2, 8}, {"b", 3, 0}}
	for _, c := range []struct {
		name    string
		nodes   []capacity
		r       Request
		nodeOf  string
		slots   string
		warning string
		err     string
	}{
		{"all slots", two, Request{}, "0 0 1 1 1", "4 4 0 0 0", "", ""},
		{"fewer", two, Request{N: 3}, "0 0 1", "4 4 0", "", ""},
		{"cyclic", two, Request{N: 4, Order: Cyclic}, "0 1 0 1", "4 0 4 0", "", ""},
		{"cyclic until full", two, Request{Order: Cyclic}, "0 1 0 1 1", "4 0 4 0 0", "", ""},
		{"too many", two, Request{N: 8}, "0 0 0 0 1 1 1 1", "2 2 2 2 0 0 0 0", "8 ranks on 5 slots: they share CPUs", ""},
		{"too many, cyclic", two, Request{N: 7, Order: Cyclic}, "0 1 0 1 1 0 1", "2 0 3 0 0 3 0", "7 ranks on 5 slots: they share CPUs", ""},
		{"too many, refused", two, Request{N: 6, NoOversubscribe: true}, "", "", "", "6 ranks on 5 slots: add hosts or leave out --no-oversubscribe"},
		{"ppn", two, Request{PPN: 1}, "0 1", "8 0", "", ""},
		{"ppn beyond the slots of one", two, Request{PPN: 3, N: 4}, "0 0 0 1", "2 3 3 0", "3 ranks on 2 slots of a: they share CPUs", ""},
		{"ppn too small", two, Request{PPN: 2, N: 5}, "", "", "", "want 5 ranks, --ppn 2 on 2 nodes gives 4: add hosts or raise --ppn"},
		{"CPUs decide", []capacity{{"a", 0, 4}, {"b", 0, 2}}, Request{}, "0 0 0 0 1 1", "1 1 1 1 1 1", "", ""},
		{"given slots of a rank", []capacity{{"a", 0, 4}, {"b", 0, 1}}, Request{CPUs: 2}, "0 0 1", "2 2 2", "", ""},
		{"uneven shares", []capacity{{"a", 0, 8}}, Request{N: 3}, "0 0 0", "2 3 3", "", ""},
		{"at least one", []capacity{{"a", 9, 2}}, Request{N: 3}, "0 0 0", "1 1 1", "", ""},
		{"unknown", []capacity{{"a", 0, 0}}, Request{N: 3}, "", "", "", "no node has a slot: add hosts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, warning, err := mapRanks(c.nodes, c.r)
			if got := fmt.Sprint(err); err != nil && got != c.err || err == nil && c.err != "" {
				t.Fatalf("error %q, want %q", got, c.err)
			}
			if err != nil {
				return
			}
			if got := strings.Trim(fmt.Sprint(p.NodeOf), "[]"); got != c.nodeOf {
				t.Errorf("nodes %s, want %s", got, c.nodeOf)
			}
			if got := strings.Trim(fmt.Sprint(p.Slots), "[]"); got != c.slots {
				t.Errorf("slots %s, want %s", got, c.slots)
			}
			if warning != c.warning {
				t.Errorf("warning %q, want %q", warning, c.warning)
			}
			next := make([]int, len(c.nodes))
			for r, n := range p.NodeOf {
				if p.LocalRank[r] != next[n] {
					t.Errorf("rank %d is local rank %d of its node, want %d", r, p.LocalRank[r], next[n])
				}
				next[n]++
			}
		})
	}
}

// Knowing the CPUs must not move a rank: nodes are chosen before they can be asked.
func TestKnownPlacementStands(t *testing.T) {
	for _, r := range []Request{{}, {N: 3}, {PPN: 2}, {N: 9, Order: Cyclic}} {
		before := []capacity{{"a", 2, 0}, {"b", 2, 0}, {"c", 1, 0}}
		if !r.certain(before) {
			t.Fatalf("%+v: not known", r)
		}
		after := slices.Clone(before)
		for i := range after {
			after[i].CPUs = 16
		}
		p, _, err := mapRanks(before, r)
		if err != nil {
			t.Fatal(err)
		}
		if q, _, _ := mapRanks(after, r); !slices.Equal(p.NodeOf, q.NodeOf) {
			t.Errorf("%+v: nodes %v, with CPUs %v", r, p.NodeOf, q.NodeOf)
		}
	}
	if (Request{}).certain([]capacity{{"a", 0, 0}}) {
		t.Error("slots of a node with unknown CPUs are known")
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct{ hosts, want string }{
		{"a", "a"},
		{"node2 node3 node4 node9", "node[2-4,9]"},
		{"node1", "node1"},
		{"node09 node10 node11", "node[09-11]"},
		{"n1 m1 n2 x", "m1,n[1-2],x"},
		{"10.0.0.1 10.0.0.2", "10.0.0.1,10.0.0.2"},
		{"::1 h1", "::1,h1"},
		{"7 8", "[7-8]"},
		{"node1.x node2.x node3.y node4", "node3.y,node4,node[1-2].x"},
		{"n1.rack1.x n2.rack1.x n1.rack2.x", "n1.rack2.x,n[1-2].rack1.x"},
		{"n01-ib n02-ib r1n1 r1n2", "n[01-02]-ib,r1n[1-2]"},
		{"node10 node09 node9", "node09,node[9-10]"},
		{"a.b fe80::1%eth0 fe80::2%eth0 99999999999999999999 99999999999999999998", "99999999999999999998,99999999999999999999,a.b,fe80::1%eth0,fe80::2%eth0"},
	} {
		if got := fold(strings.Fields(c.hosts)); got != c.want {
			t.Errorf("%s: %s, want %s", c.hosts, got, c.want)
		}
	}
	if got := rankNames([]int{0, 1, 2, 5}); got != "ranks 0-2,5" {
		t.Error(got)
	}
	if got := rankNames([]int{5}); got != "rank 5" {
		t.Error(got)
	}
}

// A node that has gone gets no rank, and rank 0 no slot where it is to run no tasks.
func TestMapGone(t *testing.T) {
	p, warning, err := mapRanks([]capacity{{"here", 1, 1}, {"gone", -1, 0}, {"there", 0, 2}}, Request{rootIdle: true})
	if err != nil || warning != "" || !slices.Equal(p.NodeOf, []int{0, 2, 2}) || !slices.Equal(p.Slots, []int{0, 1, 1}) {
		t.Errorf("%+v, %q, %v", p, warning, err)
	}
	p, _, err = mapRanks([]capacity{{"here", 1, 1}, {"gone", -1, 0}}, Request{PPN: 2})
	if err != nil || !slices.Equal(p.NodeOf, []int{0, 0}) {
		t.Errorf("%+v, %v", p, err)
	}
}
