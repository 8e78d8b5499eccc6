package agent

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/pprun/pprun/comm/frame"
)

// hub is what the agent of rank 0 prepares for the hub before any rank starts: its listeners, which rank 0 gets as
// descriptors, and its key.
type hub struct {
	key  ed25519.PrivateKey
	path string // of the Unix socket; empty on the other nodes

	mu   sync.Mutex
	tcp  *os.File // nil on one host, and after close
	unix *os.File // nil after close
}

// listen opens the hub's TCP listener on the first of the candidate addresses that this node has.
func (a *agent) listen(payload []byte) error {
	ask, err := Decode[Listen](payload)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if a.hub.tcp != nil {
		return errors.New("listen: a second one")
	}
	answer, err := a.hub.listen(ask.Addresses)
	if err != nil {
		a.fail(&Failure{Phase: "listen", Rank: -1, Code: 125, Text: fmt.Sprintf("hub on %s: %v", a.host, err)})
		return nil
	}
	return a.conn.SendValue(frame.Header{Kind: KindListening}, answer)
}

func (h *hub) listen(addresses []string) (Listening, error) {
	var why []string
	for _, addr := range addresses {
		ip, err := netip.ParseAddr(addr)
		if err == nil && ip.Unmap().IsUnspecified() {
			err = errors.New("a wildcard: it would listen to everybody")
		}
		if err != nil {
			why = append(why, addr+": "+err.Error())
			continue
		}
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
		if err != nil {
			why = append(why, reasonOf(err))
			continue
		}
		defer l.Close()
		if h.tcp, err = l.File(); err != nil {
			return Listening{}, err
		}
		public, key, err := newKey()
		h.key = key
		return Listening{Addresses: []string{l.Addr().String()}, PublicKey: public}, err
	}
	return Listening{}, fmt.Errorf("none of the addresses can be listened on: %s", strings.Join(why, "; "))
}

// reasonOf shortens net's "listen tcp 192.0.2.1:0: bind: cannot assign requested address".
func reasonOf(err error) string { return strings.TrimPrefix(err.Error(), "listen tcp ") }

// open opens the hub's Unix listener.
func (h *hub) open(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false) // the file lives on
	h.path = path
	h.unix, err = l.File()
	return err
}

// files are the listeners with their networks.
func (h *hub) files() (networks []string, files []*os.File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unix != nil {
		networks, files = append(networks, "unix"), append(files, h.unix)
	}
	if h.tcp != nil {
		networks, files = append(networks, "tcp"), append(files, h.tcp)
	}
	return networks, files
}

// close closes the agent's own copies.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unix.Close()
	h.tcp.Close()
	h.unix, h.tcp = nil, nil
}

// transient says whether an accept may succeed later.
func transient(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}
