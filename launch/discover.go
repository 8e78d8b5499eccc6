package launch

import (
	"context"
	"net/netip"
	"slices"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/door"
)

// discover adds the servers that announce themselves on the networks of this machine, and have a secret of ours. One on this
// machine itself has the processors that the ranks here have.
func (j *job) discover() error {
	if !j.Discover {
		return nil
	}
	found, err := findServers(j.ctx, j.Keys)
	if err != nil {
		return failf(StatusFailed, "search for servers: %v", err)
	}
	for _, n := range found {
		if at, err := netip.ParseAddr(n.Host); err == nil && !j.rootIdle && slices.Contains(ownAddresses(), at) {
			continue
		}
		named := func(o hostfile.Node) bool { return o.Host == n.Host && o.Port == n.Port }
		if !slices.ContainsFunc(j.Servers, named) {
			j.Servers = append(j.Servers, n)
		}
	}
	if len(j.Servers) == 0 {
		return failf(StatusFailed, "search for servers: none answers: start ppserver --announce on other machines, on a network of this one and with the same secret")
	}
	if len(j.Servers) < j.MinServers {
		return failf(StatusFailed, "search for servers: there are %d, and at least %d are wanted", len(j.Servers), j.MinServers)
	}
	return nil
}

// findServers finds them.
func findServers(ctx context.Context, keys string) ([]hostfile.Node, error) {
	ring, err := (&serverLauncher{Keys: keys}).keyring()
	if err != nil {
		return nil, err
	}
	found, err := door.Discover(ctx, ring)
	if err != nil {
		return nil, err
	}
	var nodes []hostfile.Node
	for _, a := range found {
		nodes = append(nodes, hostfile.Node{Host: a.Addr().String(), Port: int(a.Port())})
	}
	return nodes, nil
}
