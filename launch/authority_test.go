package launch

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/place"
)

func key(t *testing.T) (public, private []byte) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if public, err = x509.MarshalPKIXPublicKey(pub); err != nil {
		t.Fatal(err)
	}
	if private, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	return public, private
}

func TestCertificatesNameJobNodeAndRanks(t *testing.T) {
	// Judged at the start: a node whose clock is ten years off takes part.
	for _, years := range []int{-10, 0, 10} {
		t.Run(fmt.Sprint(years, " years"), func(t *testing.T) { certificatesHold(t, time.Now().AddDate(years, 0, 0)) })
	}
}

func certificatesHold(t *testing.T, start time.Time) {
	a, err := newAuthority("0123456789abcdef", start)
	if err != nil {
		t.Fatal(err)
	}
	hubPublic, hubKey := key(t)
	hubCert, err := a.hub(hubPublic)
	if err != nil {
		t.Fatal(err)
	}
	nodePublic, nodeKey := key(t)
	nodeCert, err := a.node(nodePublic, 2, []int{3, 1, 0, 2, 8})
	if err != nil {
		t.Fatal(err)
	}
	client := place.Identity{CA: a.cert.Raw, Cert: nodeCert, Key: nodeKey, Time: start.Unix()}
	server := place.Identity{CA: a.cert.Raw, Cert: hubCert, Key: hubKey, Time: start.Unix()}

	shake := func(client, server place.Identity) (of []*x509.Certificate, err error) {
		cc, err := client.TLS()
		if err != nil {
			t.Fatal(err)
		}
		sc, err := server.TLS()
		if err != nil {
			t.Fatal(err)
		}
		cc.InsecureSkipVerify = true // names are URIs: chain and URI are checked below, as comm does
		cc.VerifyConnection = func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: cc.RootCAs, CurrentTime: start,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			of = append(of, s.PeerCertificates[0])
			return err
		}
		left, right := net.Pipe()
		defer left.Close()
		defer right.Close()
		done := make(chan error, 1)
		s := tls.Server(right, sc)
		go func() {
			_, err := s.Write([]byte("welcome"))
			right.Close()
			done <- err
		}()
		c := tls.Client(left, cc)
		_, err = io.ReadFull(c, make([]byte, len("welcome"))) // only then has the server taken the certificate
		left.Close()
		if served := <-done; err == nil {
			err = served
		}
		if err != nil {
			return of, err
		}
		return append(of, s.ConnectionState().PeerCertificates[0]), nil
	}
	of, err := shake(client, server)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"pprun://job/0123456789abcdef/hub", "pprun://job/0123456789abcdef/node/2/ranks/0-3,8"} {
		if got := of[i].URIs[0].String(); got != want {
			t.Errorf("certificate of %s, want %s", got, want)
		}
	}
	if _, err := shake(server, client); err == nil {
		t.Error("a node's certificate served as the hub's")
	}
	other, err := newAuthority("0123456789abcdef", start)
	if err != nil {
		t.Fatal(err)
	}
	client.Cert, _ = other.node(nodePublic, 2, []int{0})
	if _, err := shake(client, server); err == nil {
		t.Error("another authority's certificate was taken")
	}
}

func TestOnlyEd25519IsSigned(t *testing.T) {
	a, err := newAuthority("0123456789abcdef", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{nil, {1, 2, 3}, public} {
		if _, err := a.hub(b); err == nil {
			t.Errorf("signed a key of %d bytes", len(b))
		}
	}
}
