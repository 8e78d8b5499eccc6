package agent

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/pprun/pprun/comm/frame"
)

// hub is what the agent of rank 0 prepares for the hub before any rank starts: its listeners, which rank 0 gets as
// descriptors, and its key.
type hub struct {
	key       ed25519.PrivateKey // nil on one host, and on the other nodes
	path      string             // of the Unix socket; empty on the other nodes
	relayPath string             // of that for relays; empty on one host, too

	mu        sync.Mutex
	networks  []string // of listeners
	listeners []*os.File
}

// maxAddresses bounds the hub's addresses: each is a descriptor, and a moment for ranks that try it in vain.
const maxAddresses = 6

// listen opens the hub's TCP listeners: on the addresses by which the launcher reaches this node, and on all others that
// it has.
func (a *agent) listen(payload []byte) error {
	ask, err := Decode[Listen](payload)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if a.hub.key != nil {
		return errors.New("listen: a second one")
	}
	var answer Listening
	if answer.PublicKey, a.hub.key, err = newKey(); err == nil {
		answer.Addresses, err = a.hub.listen(addresses(ask.Addresses, OwnAddresses()))
	}
	if err != nil {
		a.fail(&Failure{Phase: "listen", Rank: -1, Code: 125, Text: fmt.Sprintf("hub on %s: %v", a.host, err)})
		return nil
	}
	return a.conn.SendValue(frame.Header{Kind: KindListening}, answer)
}

// listen returns the addresses that this node turns out to have. Where there is none, links go through the relay.
func (h *hub) listen(ips []netip.Addr) (listening []string, err error) {
	for _, ip := range ips {
		if len(listening) == maxAddresses {
			break
		}
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
		if err != nil {
			continue
		}
		if err := h.keep("tcp", l); err != nil {
			return nil, err
		}
		listening = append(listening, l.Addr().String())
	}
	return listening, nil
}

// open opens the hub's Unix listeners.
func (h *hub) open(dir string) (err error) {
	if h.path, err = h.openUnix("unix", filepath.Join(dir, "hub")); err == nil && h.key != nil {
		h.relayPath, err = h.openUnix("relay", filepath.Join(dir, "relay"))
	}
	return err
}

func (h *hub) openUnix(network, path string) (string, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return "", err
	}
	l.SetUnlinkOnClose(false) // the file lives on
	return path, h.keep(network, l)
}

// keep keeps the descriptor of a listener, and closes the listener.
func (h *hub) keep(network string, l interface {
	File() (*os.File, error)
	Close() error
}) error {
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.networks, h.listeners = append(h.networks, network), append(h.listeners, f)
	return nil
}

// files are the listeners with their networks.
func (h *hub) files() (networks []string, files []*os.File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.networks, h.listeners
}

// close closes the agent's own copies.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.listeners {
		f.Close()
	}
	h.networks, h.listeners = nil, nil
}

// transient says whether an accept may succeed later.
func transient(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}
