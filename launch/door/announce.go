package door

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// Announce answers clients that look for servers (Discover) and have a secret of this one, on the network of the address at
// which it listens. close ends that.
func (s *Server) Announce(at netip.AddrPort) (close func() error, err error) {
	if len(s.keyring().secrets) == 0 {
		return nil, fmt.Errorf("there is no secret by which clients could tell this server from others: ppserver keygen --secret")
	}
	if !at.Addr().Is4() {
		return nil, fmt.Errorf("%s: servers are announced over IPv4 only", at.Addr())
	}
	queries, err := joinGroup(at.Addr())
	if err != nil {
		return nil, err
	}
	go s.announce(queries, at)
	return queries.Close, nil
}

// announce answers queries until their socket is closed.
func (s *Server) announce(queries net.PacketConn, at netip.AddrPort) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := queries.ReadFrom(buf)
		if err != nil {
			return
		}
		if nonce, known := parseQuery(buf[:n], s.keyring().secrets); known != nil {
			queries.WriteTo(formatAnswer(nonce, known, at.String()), from)
		}
	}
}

// joinGroup listens to the group, and to nothing else, on the interface of an address. (net.ListenMulticastUDP would listen
// at every address of this machine.)
func joinGroup(ip netip.Addr) (net.PacketConn, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "announce")
	defer f.Close()
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil { // several servers on this machine
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(group.Port()), Addr: group.Addr().As4()}); err != nil {
		return nil, fmt.Errorf("%s: %w", group, err)
	}
	member := &syscall.IPMreq{Multiaddr: group.Addr().As4(), Interface: ip.As4()}
	if err := syscall.SetsockoptIPMreq(fd, syscall.IPPROTO_IP, syscall.IP_ADD_MEMBERSHIP, member); err != nil {
		return nil, fmt.Errorf("%s on the network of %s: %w", group.Addr(), ip, err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return net.FilePacketConn(f)
}
