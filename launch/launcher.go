package launch

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pprun/pprun/hostfile"
)

// An upFunc hears of node i: the connection to its agent, or why there is none.
type upFunc func(i int, conn io.ReadWriteCloser, err error)

// A launcher brings pprun's agent to nodes. Launch calls up once for each node, from any goroutine, as soon as the
// node's agent answers or cannot be brought there, and returns after the last call. The connection speaks the protocol
// of launch/agent from its first byte on; closing it ends the agent. Canceling ctx ends what is still under way, not
// the connections handed out. An error of Launch itself stands for all nodes not reported.
type launcher interface {
	Launch(ctx context.Context, nodes []hostfile.Node, up upFunc) error
}

// parts splits nodes among launchers by their index.
type part struct {
	launcher launcher
	nodes    []int
}

// launchAll has every launcher start its nodes, all at the same time.
func launchAll(ctx context.Context, parts []part, nodes []hostfile.Node, up upFunc) {
	var all sync.WaitGroup
	for _, p := range parts {
		all.Go(func() {
			own := make([]hostfile.Node, len(p.nodes))
			for i, n := range p.nodes {
				own[i] = nodes[n]
			}
			var mu sync.Mutex
			reported := make([]bool, len(own))
			err := p.launcher.Launch(ctx, own, func(i int, conn io.ReadWriteCloser, err error) {
				mu.Lock()
				reported[i] = true
				mu.Unlock()
				up(p.nodes[i], conn, err)
			})
			for i, n := range p.nodes {
				if err != nil && !reported[i] {
					up(n, nil, err)
				}
			}
		})
	}
	all.Wait()
}

// thisHost is the name of this machine.
func thisHost() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

// isLocal says whether a node is this machine, so that no ssh is needed.
func isLocal(n hostfile.Node) bool {
	if n.Port != 0 {
		return false
	}
	if n.User != "" {
		if u, err := user.Current(); err != nil || u.Username != n.User {
			return false
		}
	}
	if a, err := netip.ParseAddr(n.Host); err == nil {
		return slices.Contains(ownAddresses(), a)
	}
	this := thisHost()
	short, _, isFull := strings.Cut(this, ".")
	switch name, _, full := strings.Cut(n.Host, "."); {
	case n.Host == "localhost", strings.EqualFold(n.Host, this):
		return true
	case !full:
		return strings.EqualFold(n.Host, short) && net.ParseIP(this) == nil
	default: // batch systems may know a machine by its full name, and the machine itself by the short one
		return !isFull && strings.EqualFold(name, this) && strings.EqualFold(n.Host, fullName(this))
	}
}

// ownAddresses are those of this machine's interfaces.
var ownAddresses = sync.OnceValue(func() []netip.Addr {
	var own []netip.Addr
	all, _ := net.InterfaceAddrs() // without them, ssh will do
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr())
		}
	}
	return own
})

// fullName is the name with domain that this machine's resolver has for a name of its own; empty if it knows none.
func fullName(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	full, err := net.DefaultResolver.LookupCNAME(ctx, name)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(full, ".")
}
