package door

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// A Key is the private key of a server or client.
type Key struct {
	private ed25519.PrivateKey
	cert    tls.Certificate // of its own signature: what counts is the key in it
}

// NewKey makes a key.
func NewKey() (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return newKey(private)
}

func newKey(private ed25519.PrivateKey) (*Key, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: protocol},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), // nobody looks
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, private.Public(), private)
	if err != nil {
		return nil, err
	}
	return &Key{private, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}}, nil
}

// Public is the half of the key that others may know.
func (k *Key) Public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// encode is the key as a file has it.
func (k *Key) encode() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// decodeKey is the inverse of encode.
func decodeKey(b []byte) (*Key, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("is no private key: ppserver keygen makes one")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("is no private key: ppserver keygen makes one")
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("is no key of Ed25519: ppserver keygen makes one")
	}
	return newKey(private)
}

// Fingerprint names a public key in few letters.
func Fingerprint(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

const keyType = "ed25519"

// FormatPublic is a public key in words, as files have it.
func FormatPublic(public ed25519.PublicKey) string {
	return keyType + " " + base64.StdEncoding.EncodeToString(public)
}

// ParsePublic reads a public key and the comment after it.
func ParsePublic(text string) (public ed25519.PublicKey, comment string, err error) {
	kind, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	word, comment, _ := strings.Cut(strings.TrimSpace(rest), " ")
	b, err := base64.StdEncoding.DecodeString(word)
	if kind != keyType || err != nil || len(b) != ed25519.PublicKeySize {
		return nil, "", fmt.Errorf("%.80q is no public key: want %s and its base64", text, keyType)
	}
	return b, strings.TrimSpace(comment), nil
}

// keyOf is the key of the other end, nil if it has shown none of Ed25519. TLS has seen to it that it has the private half.
func keyOf(state tls.ConnectionState) ed25519.PublicKey {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	public, _ := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	return public
}
