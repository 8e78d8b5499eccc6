package launch

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// authority signs the certificates of one job. Its key lives in the launcher's memory only, and so long as the job is
// being started; nodes and hub make their own keys and send the public halves.
type authority struct {
	job  string
	now  time.Time // by which certificates are judged, so that clock skew breaks nothing
	key  ed25519.PrivateKey
	cert *x509.Certificate
}

// lifetime around the start within which certificates hold; they are judged at the start itself.
const lifetime = time.Hour

func newAuthority(job string, now time.Time) (*authority, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{job: job, now: now, key: key}
	t := a.template()
	t.Subject = pkix.Name{CommonName: "pprun job " + job}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, public, key)
	if err != nil {
		return nil, err
	}
	a.cert, err = x509.ParseCertificate(der)
	return a, err
}

func (a *authority) template() *x509.Certificate {
	serial := make([]byte, 16)
	rand.Read(serial)
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		NotBefore:    a.now.Add(-lifetime),
		NotAfter:     a.now.Add(lifetime),
	}
}

// node signs the key of a node for exactly the ranks that run there, as a client of the hub.
func (a *authority) node(public []byte, node int, ranks []int) ([]byte, error) {
	return a.leaf(public, fmt.Sprintf("node/%d/ranks/%s", node, ranges(ranks, 0, "", "")), x509.ExtKeyUsageClientAuth)
}

// hub signs the hub's key.
func (a *authority) hub(public []byte) ([]byte, error) {
	return a.leaf(public, "hub", x509.ExtKeyUsageServerAuth)
}

func (a *authority) leaf(public []byte, path string, usage x509.ExtKeyUsage) ([]byte, error) {
	key, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("public key of %s: %w", path, err)
	}
	if _, ok := key.(ed25519.PublicKey); !ok {
		return nil, fmt.Errorf("public key of %s: %T, want Ed25519", path, key)
	}
	t := a.template()
	t.URIs = []*url.URL{{Scheme: "pprun", Host: "job", Path: "/" + a.job + "/" + path}}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	return x509.CreateCertificate(rand.Reader, t, a.cert, key, a.key)
}
