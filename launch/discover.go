package launch

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/door"
)

// discover adds the servers that announce themselves on the networks of this machine, and have a secret of ours. One on this
// machine itself has the processors that the ranks here have.
func (j *job) discover() error {
	if !j.Discover {
		return nil
	}
	named := make(chan map[netip.AddrPort]bool, 1)
	go func() { named <- addressesOf(j.ctx, j.Servers) }()
	found, err := findServers(j.ctx, j.Keys)
	if err != nil {
		return failf(StatusFailed, "search for servers: %v", err)
	}
	known := <-named
	for _, a := range found {
		if known[a] || !j.rootIdle && slices.Contains(ownAddresses(), a.Addr()) {
			continue
		}
		j.Servers = append(j.Servers, hostfile.Node{Host: a.Addr().String(), Port: int(a.Port())})
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
func findServers(ctx context.Context, keys string) ([]netip.AddrPort, error) {
	ring, err := (&serverLauncher{Keys: keys}).keyring()
	if err != nil {
		return nil, err
	}
	return door.Discover(ctx, ring)
}

// lookupTime is how long names are looked up, at most.
const lookupTime = 5 * time.Second

// addressesOf are the addresses of servers that the user has named. One that has none will be told of when it is needed.
func addressesOf(ctx context.Context, servers []hostfile.Node) map[netip.AddrPort]bool {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	var mu sync.Mutex
	var work sync.WaitGroup
	all := map[netip.AddrPort]bool{}
	for _, s := range servers {
		work.Go(func() {
			ips, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", s.Host)
			mu.Lock()
			defer mu.Unlock()
			for _, ip := range ips {
				all[netip.AddrPortFrom(ip.Unmap(), uint16(s.Port))] = true
			}
		})
	}
	work.Wait()
	return all
}
