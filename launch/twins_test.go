package launch

import (
	"testing"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

func TestMergeTwins(t *testing.T) {
	a := func(host string, slots int, boot, login string) *node {
		return &node{host: hostfile.Node{Host: host, Slots: slots}, ready: &agent.Ready{BootID: boot, CPUs: 8}, login: login}
	}
	here := func(host string) *node {
		n := a(host, 1, "boot0", "")
		n.local = true
		return n
	}
	for name, c := range map[string]struct {
		nodes []*node
		want  []int // slots: -1 is merged into an earlier one, 0 is by CPUs
	}{
		"one":             {[]*node{a("a", 2, "boot1", "root@key1")}, []int{2}},
		"four names":      {[]*node{a("a", 1, "boot1", "root@key1"), a("10.0.0.1", 2, "boot1", "root@key1"), a("b", 5, "boot2", "root@key2"), a("a.lab", 4, "boot1", "root@key1")}, []int{7, -1, 5, -1}},
		"by CPUs":         {[]*node{a("a", 0, "boot1", "root@key1"), a("10.0.0.1", 0, "boot1", "root@key1")}, []int{0, -1}},
		"one image":       {[]*node{a("localhost", 1, "boot1", "root@key1"), a("localhost", 1, "boot2", "root@key1")}, []int{1, 1}},
		"containers":      {[]*node{a("a", 1, "boot1", "root@key1"), a("b", 1, "boot1", "root@key2")}, []int{1, 1}},
		"users":           {[]*node{a("a", 1, "boot1", "alice@key1"), a("a", 1, "boot1", "bob@key1")}, []int{1, 1}},
		"this machine":    {[]*node{here("localhost"), here("127.0.0.1"), a("here.lab", 1, "boot0", "root@key0")}, []int{2, -1, 1}},
		"unknown machine": {[]*node{a("a", 1, "", "root@key1"), a("b", 1, "", "root@key1"), a("c", 1, "boot1", ""), a("d", 1, "boot1", "")}, []int{1, 1, 1, 1}},
	} {
		j := &job{Config: Config{Quiet: true}, nodes: c.nodes}
		j.mergeTwins()
		for i, capacity := range j.capacities() {
			if capacity.Slots != c.want[i] {
				t.Errorf("%s: %s has %d slots, want %d", name, capacity.Host, capacity.Slots, c.want[i])
			}
		}
	}
}
