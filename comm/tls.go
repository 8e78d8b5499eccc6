package comm

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/pprun/pprun/comm/place"
)

// A proof is what the URI of a verified certificate says of its holder:
//
//	pprun://job/<job>/hub
//	pprun://job/<job>/node/<number>/ranks/<list like 0-3,8>
type proof struct {
	job   string
	hub   bool
	node  int
	ranks [][2]int // from, to
}

// holds says whether the proof is that of a rank on a node.
func (p *proof) holds(rank, node int) bool {
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
func parseProof(uri string) (p proof, err error) {
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
func prove(state tls.ConnectionState, config *tls.Config, usage x509.ExtKeyUsage, job string) (p proof, err error) {
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

// clientTLS wraps a connection to what must be the hub.
func clientTLS(conn net.Conn, id *place.Identity, job string) (*tls.Conn, error) {
	config, err := id.TLS()
	if err != nil {
		return nil, err
	}
	config.InsecureSkipVerify = true // of the host name only: VerifyConnection does the rest
	config.VerifyConnection = func(state tls.ConnectionState) error {
		p, err := prove(state, config, x509.ExtKeyUsageServerAuth, job)
		if err == nil && !p.hub {
			err = errors.New("its certificate is not the hub's")
		}
		if err != nil {
			return errorf("the peer is not this job's hub: %w", err)
		}
		return nil
	}
	return tls.Client(conn, config), nil
}

// serverTLS wraps a connection from what must be ranks of the job.
func serverTLS(conn net.Conn, id *place.Identity, job string) (*tls.Conn, *proof, error) {
	config, err := id.TLS()
	if err != nil {
		return nil, nil, err
	}
	var p proof
	config.VerifyConnection = func(state tls.ConnectionState) (err error) {
		p, err = prove(state, config, x509.ExtKeyUsageClientAuth, job)
		return err
	}
	return tls.Server(conn, config), &p, nil
}
