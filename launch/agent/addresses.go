package agent

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// addresses are those at which ranks of other nodes may find the hub, best first: those by which the launcher says that it
// reaches this node, then this node's own. None is a wildcard, on which everybody would be listened to.
func addresses(routes []string, own []netip.Addr) []netip.Addr {
	var all []netip.Addr
	add := func(ip netip.Addr) {
		if ip.Is6() && ip.IsLinkLocalUnicast() { // of no use without the name of an interface of whoever uses it
			return
		}
		if ip = ip.Unmap(); ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && !slices.Contains(all, ip) {
			all = append(all, ip)
		}
	}
	for _, r := range routes {
		ip, _ := netip.ParseAddr(r)
		add(ip)
	}
	for _, ip := range own {
		add(ip)
	}
	return all
}

// virtual are the beginnings of names of interfaces that lead to no other machine; often they have the same address
// everywhere.
var virtual = []string{"docker", "br-", "veth", "virbr", "vboxnet", "vmnet", "lxc", "lxd", "cni", "podman"}

// OwnAddresses are this node's addresses that others might use, the likely ones first.
func OwnAddresses() []netip.Addr {
	type address struct {
		netip.Addr
		rank int // 0: best
	}
	var all []address
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		rank := 0
		if slices.ContainsFunc(virtual, func(v string) bool { return strings.HasPrefix(i.Name, v) }) {
			rank = 2
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if ip := p.Addr().Unmap(); err == nil && ip.IsGlobalUnicast() {
				if ip.Is6() {
					all = append(all, address{ip, rank + 1})
				} else {
					all = append(all, address{ip, rank})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b address) int { return cmp.Compare(a.rank, b.rank) })
	ips := make([]netip.Addr, len(all))
	for i, a := range all {
		ips[i] = a.Addr
	}
	return ips
}
