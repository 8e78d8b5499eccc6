package door

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Discovery finds the servers of a network that announce themselves, by datagrams of UDP over IPv4. Both ends have a secret,
// and show that they do before the other says or believes anything; what is found is an address, at which a client logs in
// as at any other.
//
//	client                                     server
//	query   nonce, proofs            -> group
//	                                 <-        answer   nonce, proof, address
//
// A proof is HMAC-SHA256 under a secret that both hold, of what it is for, the nonce, and in an answer the address. So who
// does not know the secret is told nothing, and can neither answer nor repeat an answer of before: each question has a
// nonce of its own.
const (
	queryMagic  = "ppserver?2\n"
	answerMagic = "ppserver!2\n"
	nonceLen    = 16
	maxAddress  = 64
	maxDatagram = 512
)

// group is where servers listen: a multicast address that no router passes on.
var group = netip.MustParseAddrPort("239.255.234.96:60000")

// The roles in the proofs of datagrams.
const (
	roleQuery  = "query"
	roleAnswer = "answer"
)

// Times of a discovery.
const (
	listenFor  = time.Second            // for answers
	queryAgain = 250 * time.Millisecond // in case one was lost
)

// formatQuery makes a query, with a proof for each of the secrets.
func formatQuery(nonce []byte, secrets []secret) []byte {
	b := append([]byte(queryMagic), nonce...)
	for _, s := range secrets {
		b = append(b, prove(s.bytes, roleQuery, nonce)...)
	}
	return b
}

// parseQuery returns the nonce of a query and the secret by which it was made, nil if that is none of ours.
func parseQuery(b []byte, secrets []secret) (nonce, known []byte) {
	rest, ok := bytes.CutPrefix(b, []byte(queryMagic))
	if !ok || len(rest) < nonceLen || len(rest) > nonceLen+maxSecrets*proofLen {
		return nil, nil
	}
	nonce, proofs := rest[:nonceLen], rest[nonceLen:]
	return nonce, proved(secrets, roleQuery, nonce, proofs)
}

// formatAnswer makes an answer.
func formatAnswer(nonce, secret []byte, address string) []byte {
	b := append([]byte(answerMagic), nonce...)
	b = append(b, prove(secret, roleAnswer, slices.Concat(nonce, []byte(address)))...)
	return append(b, address...)
}

// parseAnswer returns the address in an answer to the query with that nonce, if who made it has one of the secrets.
func parseAnswer(b, nonce []byte, secrets []secret) (netip.AddrPort, bool) {
	rest, ok := bytes.CutPrefix(b, []byte(answerMagic))
	if !ok || len(rest) < nonceLen+proofLen || len(rest) > nonceLen+proofLen+maxAddress || !hmac.Equal(rest[:nonceLen], nonce) {
		return netip.AddrPort{}, false
	}
	proof, address := rest[nonceLen:nonceLen+proofLen], rest[nonceLen+proofLen:]
	if proved(secrets, roleAnswer, slices.Concat(nonce, address), proof) == nil {
		return netip.AddrPort{}, false
	}
	found, err := netip.ParseAddrPort(string(address))
	return found, err == nil && !found.Addr().IsUnspecified() && !found.Addr().IsMulticast()
}

// Discover asks the networks of this machine for servers that announce themselves and have a secret of the keyring. It
// listens for a second, and returns their addresses in order.
func Discover(ctx context.Context, ring *Keyring) ([]netip.AddrPort, error) {
	return discover(ctx, ring, ownNetworks())
}

// discover asks by the interfaces of these addresses.
func discover(ctx context.Context, ring *Keyring, own []netip.Addr) ([]netip.AddrPort, error) {
	var secrets []secret
	for _, s := range slices.Concat(ring.loopback, ring.secrets) {
		if s.valid() {
			secrets = append(secrets, s)
		}
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("servers are found by a secret that they have, too, and %s has none: ppserver keygen --secret", ring.Dir)
	}
	ctx, cancel := context.WithTimeout(ctx, listenFor)
	defer cancel()
	nonce := make([]byte, nonceLen)
	rand.Read(nonce)
	var mu sync.Mutex
	var found []netip.AddrPort
	var errs []error
	var all sync.WaitGroup
	for _, ip := range own {
		all.Go(func() {
			err := query(ctx, ip, formatQuery(nonce, secrets), func(b []byte) {
				mu.Lock()
				defer mu.Unlock()
				if a, ok := parseAnswer(b, nonce, secrets); ok && !slices.Contains(found, a) {
					found = append(found, a)
				}
			})
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	all.Wait()
	slices.SortFunc(found, netip.AddrPort.Compare)
	if len(found) == 0 && context.Cause(ctx) != context.DeadlineExceeded {
		return nil, context.Cause(ctx)
	}
	if len(found) == 0 && !slices.Contains(errs, nil) {
		return nil, errors.Join(errs...)
	}
	return found, nil
}

// query sends a query by the interface of an address, again and again, and takes answers, until ctx ends.
func query(ctx context.Context, from netip.Addr, b []byte, answer func([]byte)) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInet4Addr(int(fd), syscall.IPPROTO_IP, syscall.IP_MULTICAST_IF, from.As4())
	})
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil {
			if _, e := conn.WriteToUDPAddrPort(b, group); e != nil && ctx.Err() == nil {
				err = e
			}
			select {
			case <-time.After(queryAgain):
			case <-ctx.Done():
			}
		}
		sent <- err
	}()
	buf := make([]byte, maxDatagram)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return <-sent
		}
		if err == nil {
			answer(buf[:n])
		}
	}
}

// ownNetworks are this machine's addresses of IPv4, by whose interfaces it can ask.
func ownNetworks() (own []netip.Addr) {
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&(net.FlagMulticast|net.FlagLoopback) == 0 {
			continue
		}
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				own = append(own, p.Addr())
				break
			}
		}
	}
	return own
}
