package place

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// A Proof is what the URI of a verified certificate says of its holder:
//
//	pprun://job/<job>/hub
//	pprun://job/<job>/node/<number>/ranks/<list like 0-3,8>
type Proof struct {
	job   string
	hub   bool
	node  int
	ranks [][2]int // from, to
}

// Holds says whether the proof is that of a rank on a node.
func (p *Proof) Holds(rank, node int) bool {
	if node != p.node {
		return false
	}
	for _, r := range p.ranks {
		if r[0] <= rank && rank <= r[1] {
			return true
		}
	}
	return false
}

// parseProof reads the URI of a certificate.
func parseProof(uri string) (p Proof, err error) {
	rest, ok := strings.CutPrefix(uri, "pprun://job/")
	parts := strings.Split(rest, "/")
	p.job = parts[0]
	switch {
	case ok && p.job != "" && len(parts) == 2 && parts[1] == "hub":
		p.hub = true
		return p, nil
	case ok && p.job != "" && len(parts) == 5 && parts[1] == "node" && parts[3] == "ranks":
		if node, err := strconv.ParseUint(parts[2], 10, 31); err == nil {
			p.node = int(node)
			p.ranks, err = parseRanks(parts[4])
			return p, err
		}
	}
	return p, fmt.Errorf("a certificate for %.100q", uri)
}

func parseRanks(list string) (ranks [][2]int, err error) {
	for _, item := range strings.Split(list, ",") {
		from, to, span := strings.Cut(item, "-")
		if !span {
			to = from
		}
		a, errA := strconv.ParseUint(from, 10, 31)
		b, errB := strconv.ParseUint(to, 10, 31)
		if errA != nil || errB != nil || a > b {
			return nil, fmt.Errorf("a certificate for ranks %.100q", list)
		}
		ranks = append(ranks, [2]int{int(a), int(b)})
	}
	return ranks, nil
}

// prove verifies the certificate of a peer against the job's authority and returns what it says. It is the one place
// where names are checked: by URI, since addresses say nothing of ranks.
func prove(state tls.ConnectionState, config *tls.Config, usage x509.ExtKeyUsage, job string) (p Proof, err error) {
	if len(state.PeerCertificates) == 0 {
		return p, errors.New("it shows no certificate")
	}
	leaf := state.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: config.RootCAs, CurrentTime: config.Time(), KeyUsages: []x509.ExtKeyUsage{usage},
	}); err != nil {
		return p, err
	}
	if len(leaf.URIs) != 1 {
		return p, fmt.Errorf("its certificate has %d URIs, want 1", len(leaf.URIs))
	}
	if p, err = parseProof(leaf.URIs[0].String()); err != nil {
		return p, err
	}
	if p.job != job {
		return p, fmt.Errorf("its certificate is of job %.40q, this is job %q", p.job, job)
	}
	return p, nil
}

// Client wraps a connection to what must be the hub of a job, for a rank, or for an agent that carries the links of its
// ranks (proto: ProtoRank, ProtoNode).
func (i *Identity) Client(conn net.Conn, job, proto string) (*tls.Conn, error) {
	config, err := i.TLS()
	if err != nil {
		return nil, err
	}
	config.NextProtos = []string{proto}
	config.InsecureSkipVerify = true // of the host name only: VerifyConnection does the rest
	config.VerifyConnection = func(state tls.ConnectionState) error {
		p, err := prove(state, config, x509.ExtKeyUsageServerAuth, job)
		if err == nil && !p.hub {
			err = errors.New("its certificate is not the hub's")
		}
		if err != nil {
			return fmt.Errorf("the peer is not this job's hub: %w", err)
		}
		return nil
	}
	return tls.Client(conn, config), nil
}

// A Server wraps a connection from what must be a rank of a job, or its agent. The proof counts once the handshake is done.
type Server func(conn net.Conn) (*tls.Conn, *Proof)

// Server makes one, which reads the keys once and not again for every stranger.
func (i *Identity) Server(job string) (Server, error) {
	common, err := i.TLS()
	if err != nil {
		return nil, err
	}
	return func(conn net.Conn) (*tls.Conn, *Proof) {
		config, p := common.Clone(), new(Proof)
		config.VerifyConnection = func(state tls.ConnectionState) (err error) {
			*p, err = prove(state, config, x509.ExtKeyUsageClientAuth, job)
			return err
		}
		return tls.Server(conn, config), p
	}, nil
}

// What a connection is for (ALPN).
const (
	ProtoRank = "pprun/1"      // a link of a rank
	ProtoNode = "pprun-node/1" // a frame.Trunk: each of its streams is a link
)

// TLS returns the settings that client and server share: TLS 1.3, the job's authority, no tickets.
func (i *Identity) TLS() (*tls.Config, error) {
	ca, err := x509.ParseCertificate(i.CA)
	if err != nil {
		return nil, fmt.Errorf("place: the job's authority: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(i.Key)
	if err != nil {
		return nil, fmt.Errorf("place: this node's key: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	judged := time.Unix(i.Time, 0)
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{{Certificate: [][]byte{i.Cert}, PrivateKey: key}},
		RootCAs:                pool,
		ClientCAs:              pool,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		SessionTicketsDisabled: true,
		NextProtos:             []string{ProtoRank, ProtoNode},
		Time:                   func() time.Time { return judged },
	}, nil
}
