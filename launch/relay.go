package launch

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
)

// exchange passes on the streams of agents that cannot reach each other, unread. The agents grant each other credit, so
// it holds no more than that.
type exchange struct {
	mu    sync.Mutex
	nodes []*node // guarded by mu; nil until ranks are started
}

// open lets frames pass from now on.
func (x *exchange) open(nodes []*node) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.nodes = slices.Clone(nodes)
}

// replace lets the frames of a node pass that has come late, in the place of another or after all.
func (x *exchange) replace(n *node) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n.index == len(x.nodes) {
		x.nodes = append(x.nodes, n)
	}
	x.nodes[n.index] = n
}

// pass passes on a frame that has come from a node. It is called by the readers of all nodes, and never blocks.
func (x *exchange) pass(from *node, h frame.Header, payload []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if int(h.Src) != from.index || int64(h.Dst) >= int64(len(x.nodes)) || h.ID == 0 {
		return fmt.Errorf("agent sent a frame of kind %d for stream %d from node %d to node %d", h.Kind, h.ID, h.Src, h.Dst)
	}
	b := make([]byte, frame.HeaderLen+len(payload))
	copy(b[frame.HeaderLen:], payload)
	x.nodes[h.Dst].postLast(message{Header: h, payload: b, headed: true})
	return nil
}

// lose tells the other nodes that the streams of one have ended.
func (x *exchange) lose(n *node) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, to := range x.nodes {
		if to != n && !to.gone {
			to.postLast(message{Header: frame.Header{Kind: agent.KindRelayClose, Src: uint32(n.index), Dst: uint32(to.index)}})
		}
	}
}

// A relayed is why a node's links to the hub are streams of the exchange.
type relayed string

// gather is how long a node's word is held back, so that one line may name others too.
const gather = time.Second

// detour notes that a node's links go through us.
func (j *job) detour(n *node, why relayed) {
	if n.relayed == "" {
		n.relayed = printable(string(why))
		j.detours = append(j.detours, n)
	}
	if j.detouredAt.IsZero() {
		j.detouredAt = time.Now()
	}
}

// sayDetours names the nodes that have not been named yet, in one line for each reason.
func (j *job) sayDetours() {
	hosts := map[string][]string{}
	var reasons []string
	for _, n := range j.detours {
		if !slices.Contains(reasons, n.relayed) {
			reasons = append(reasons, n.relayed)
		}
		hosts[n.relayed] = append(hosts[n.relayed], n.host.Host)
	}
	for _, why := range reasons {
		j.warn("%s: cannot reach rank 0 on %s (%s): their messages go through this ssh connection (slower)",
			fold(hosts[why]), j.nodes[j.placement.NodeOf[0]].host.Host, why)
	}
	j.detours, j.detouredAt = nil, time.Time{}
}

// printable is text without what a terminal might obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
