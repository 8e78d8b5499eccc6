package ssh

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	xssh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

const (
	listTime   = 2 * time.Second // for an agent to list its keys
	answerTime = time.Minute     // to sign: it may wait for a finger on a security key
)

// A key is one private key that may be offered to the host.
type key struct {
	name   string // "key PATH" or "agent key FINGERPRINT"
	public xssh.PublicKey
	sign   func(rand io.Reader, data []byte, algorithm string) (*xssh.Signature, error)
}

// PublicKey, Sign, SignWithAlgorithm and Algorithms make key an xssh.MultiAlgorithmSigner.
func (k *key) PublicKey() xssh.PublicKey { return k.public }

func (k *key) Sign(rand io.Reader, data []byte) (*xssh.Signature, error) {
	return k.sign(rand, data, k.Algorithms()[0])
}

func (k *key) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*xssh.Signature, error) {
	return k.sign(rand, data, algorithm)
}

// Algorithms leaves out ssh-rsa, which signs with SHA-1.
func (k *key) Algorithms() []string {
	typ := plainKey(k.public).Type()
	if typ == xssh.KeyAlgoRSA {
		return []string{xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256}
	}
	return []string{typ}
}

// keyring lists the keys to offer, in order, and the files that were looked at.
type keyring struct {
	set   *settings
	cfg   Config
	phase *phaser
	keys  []*key
	tried []string // files that hold no usable key
	agent net.Conn // nil: none
}

// openKeyring collects keys: those of the agent that a configured file names, other keys of the agent
// unless IdentitiesOnly is set, then files. A certificate comes before its bare key. The caller closes it.
func openKeyring(ctx context.Context, s *settings, cfg Config, phase *phaser) *keyring {
	r := &keyring{set: s, cfg: cfg, phase: phase}
	files := r.files(ctx)
	named := func(k *key) bool {
		return slices.ContainsFunc(files, func(f *key) bool { return sameKey(plainKey(f.public), plainKey(k.public)) })
	}
	var others []*key
	for _, k := range r.agentKeys(ctx) {
		if named(k) {
			r.keys = append(r.keys, k)
		} else {
			others = append(others, k)
		}
	}
	if !s.identitiesOnly {
		r.keys = append(r.keys, others...)
	}
	for _, f := range files {
		switch {
		case slices.ContainsFunc(r.keys, func(k *key) bool { return sameKey(plainKey(k.public), plainKey(f.public)) }):
		case f.sign == nil:
			r.tried = append(r.tried, strings.TrimPrefix(f.name, "key "))
		default:
			r.keys = append(r.keys, f)
		}
	}
	r.addCertificates()
	return r
}

func (r *keyring) close() {
	if r.agent != nil {
		r.agent.Close()
	}
}

// agentKeys returns the keys of ssh-agent. An agent that does not answer has none.
func (r *keyring) agentKeys(ctx context.Context) []*key {
	socket := r.set.identityAgent
	switch {
	case socket == "none":
		return nil
	case socket == "" || socket == "SSH_AUTH_SOCK":
		socket = os.Getenv("SSH_AUTH_SOCK")
	case strings.HasPrefix(socket, "$") && !strings.HasPrefix(socket, "${"):
		socket = os.Getenv(socket[1:])
	default:
		if path, err := r.set.path(socket); err == nil {
			socket = path
		}
	}
	if socket == "" {
		return nil
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		r.cfg.warn(fmt.Sprintf("ssh-agent is not used: %v", err))
		return nil
	}
	r.agent = c
	context.AfterFunc(ctx, func() { c.Close() })
	c.SetDeadline(time.Now().Add(listTime))
	signers, err := agent.NewClient(c).Signers()
	c.SetDeadline(time.Time{})
	if err != nil {
		r.cfg.warn(fmt.Sprintf("ssh-agent is not used: %v", err))
		return nil
	}
	var keys []*key
	for _, s := range signers {
		public, err := xssh.ParsePublicKey(s.PublicKey().Marshal())
		signer, ok := s.(xssh.AlgorithmSigner)
		if err != nil || !ok || !supported(public) {
			continue
		}
		name := "agent key " + xssh.FingerprintSHA256(public)
		keys = append(keys, &key{name, public, func(rand io.Reader, data []byte, algorithm string) (*xssh.Signature, error) {
			r.phase.enterFor(phaseAuthenticate, answerTime)
			defer r.phase.enter(phaseAuthenticate)
			return signer.SignWithAlgorithm(rand, data, algorithm)
		}})
	}
	return keys
}

// supported reports whether keys of this kind can be used: the library knows DSA too.
func supported(public xssh.PublicKey) bool {
	typ := plainKey(public).Type()
	return typ == xssh.KeyAlgoRSA || slices.Contains(xssh.SupportedAlgorithms().PublicKeyAuths, typ)
}

func plainKey(k xssh.PublicKey) xssh.PublicKey {
	if cert, ok := k.(*xssh.Certificate); ok {
		return cert.Key
	}
	return k
}

func sameKey(a, b xssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }
