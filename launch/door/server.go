package door

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

const (
	maxPending  = 64              // connections that have proved nothing yet
	loginWithin = 5 * time.Second // time they have to
)

// A Server lets clients in.
type Server struct {
	mu      sync.Mutex
	ring    *Keyring   // replaced as a whole
	pending []net.Conn // oldest first
}

// NewServer lets in whom the keyring knows, which has a key of the server.
func NewServer(ring *Keyring) *Server { return &Server{ring: ring} }

// Replace has another keyring count from now on, but for what lasts as long as the server runs: its own key, and a secret
// of OpenLoopback.
func (s *Server) Replace(ring *Keyring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ring.server, ring.lasting = s.ring.server, s.ring.lasting
	ring.secrets = append(ring.secrets, ring.lasting...)
	s.ring = ring
}

func (s *Server) keyring() *Keyring {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring
}

// A Client is who has been let in.
type Client struct {
	Name   string // for the log
	Asks   bool   // it wants a report, no agent
	key    string // public; empty: let in by a secret
	secret []byte
}

// Knows says whether a client would still be let in.
func (s *Server) Knows(c Client) bool {
	r := s.keyring()
	if c.secret != nil {
		return slices.ContainsFunc(r.secrets, func(s secret) bool { return s.valid() && bytes.Equal(s.bytes, c.secret) })
	}
	_, ok := r.clients[c.key]
	return ok
}

// Login lets a client in, or closes the connection. It asks admit about whoever has proved who it is, and tells the client
// of the error. Anybody may connect: at most so many may be on their way in, and when there are more, those lose who have
// taken the longest.
func (s *Server) Login(conn net.Conn, admit func(Client) error) (*tls.Conn, Client, error) {
	s.admit(conn)
	defer s.dismiss(conn)
	conn.SetDeadline(time.Now().Add(loginWithin))
	ring := s.keyring()
	secure := tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ring.server.cert}, NextProtos: []string{protocol},
		ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true,
	})
	c, err := s.login(secure, ring, admit)
	if err != nil {
		conn.Close()
		return nil, c, err
	}
	return secure, c, conn.SetDeadline(time.Time{})
}

func (s *Server) login(secure *tls.Conn, ring *Keyring, admit func(Client) error) (Client, error) {
	if err := secure.Handshake(); err != nil {
		if strings.HasSuffix(err.Error(), "tls: bad certificate") { // a *net.OpError, with what is unexported within
			err = fmt.Errorf("it takes another key for that of this ppserver, or knows none: see its known_servers (%w)", err)
		}
		return Client{}, err
	}
	h, proofs, err := readFrame(secure)
	if err == nil && h.Kind != kindLogin {
		err = fmt.Errorf("a frame of kind %d where the login belongs", h.Kind)
	}
	if err != nil {
		return Client{}, err
	}
	if h.ID != Version {
		return Client{}, refuse(secure, fmt.Errorf("it speaks login %d, this ppserver %d: use one version of pprun", h.ID, Version))
	}
	c, proof, err := ring.identify(secure, proofs)
	c.Asks = h.Dst == wantReport
	switch {
	case err != nil:
	case h.Dst != wantAgent && h.Dst != wantReport:
		err = fmt.Errorf("it wants %d, which is nothing", h.Dst)
	default:
		err = admit(c)
	}
	if err != nil {
		return c, refuse(secure, err)
	}
	return c, frame.Write(secure, frame.Header{Kind: kindWelcome}, proof)
}

// identify finds out which client is at the other end, and makes the proof that it expects, if any.
func (r *Keyring) identify(secure *tls.Conn, proofs []byte) (c Client, proof []byte, err error) {
	if key := keyOf(secure.ConnectionState()); key != nil {
		c = Client{Name: Fingerprint(key), key: string(key)}
		if _, ok := r.clients[c.key]; ok {
			return c, nil, nil
		}
	}
	exported, err := export(secure)
	if err != nil {
		return c, nil, err
	}
	if known := proved(r.secrets, roleClient, exported, proofs); known != nil {
		return Client{Name: "secret", secret: known}, prove(known, roleServer, exported), nil
	}
	switch {
	case c.key == "" && len(proofs) == 0:
		err = errors.New("it has no key and no secret: ppserver keygen makes them")
	case c.key == "":
		err = errors.New("its secret is not one of this ppserver")
	default:
		err = fmt.Errorf("its key %s is not authorized: to let it in, run there: ppserver authorize '%s'", c.Name, FormatPublic(ed25519.PublicKey(c.key)))
	}
	return c, nil, err
}

func refuse(secure *tls.Conn, why error) error {
	text := why.Error()
	frame.Write(secure, frame.Header{Kind: kindRefuse}, []byte(text[:min(len(text), maxRefusal)]))
	return why
}

// admit notes a connection that has proved nothing. Where there are too many, the address that has the most of them loses
// its oldest.
func (s *Server) admit(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, conn)
	if len(s.pending) <= maxPending {
		return
	}
	count, most := map[string]int{}, ""
	for _, c := range s.pending {
		from := source(c)
		if count[from]++; count[from] > count[most] {
			most = from
		}
	}
	i := slices.IndexFunc(s.pending, func(c net.Conn) bool { return source(c) == most })
	s.pending[i].Close()
	s.pending = slices.Delete(s.pending, i, i+1)
}

// source is the address that a connection comes from, without the port.
func source(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return host
}

func (s *Server) dismiss(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = slices.DeleteFunc(s.pending, func(c net.Conn) bool { return c == conn })
}
