package ssh

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
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

// answerTime is how long an agent may take to sign: it may wait for a finger on a security key.
const answerTime = time.Minute

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
	public := k.public
	if cert, ok := public.(*xssh.Certificate); ok {
		public = cert.Key
	}
	if public.Type() == xssh.KeyAlgoRSA {
		return []string{xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256}
	}
	return []string{public.Type()}
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
			r.tried = append(r.tried, f.name)
		default:
			r.keys = append(r.keys, f)
		}
	}
	r.addCertificates(ctx)
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
	client := agent.NewClient(c)
	signers, err := client.Signers()
	if err != nil {
		r.cfg.warn(fmt.Sprintf("ssh-agent is not used: %v", err))
		return nil
	}
	var keys []*key
	for _, s := range signers {
		public, err := xssh.ParsePublicKey(s.PublicKey().Marshal())
		signer, ok := s.(xssh.AlgorithmSigner)
		if err != nil || !ok || public.Type() == xssh.InsecureKeyAlgoDSA {
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

// files returns the keys of the configured files. Where only the public half is there, for an agent's
// key, sign is nil.
func (r *keyring) files(ctx context.Context) []*key {
	var keys []*key
	for _, path := range r.set.paths(r.set.identityFiles, r.cfg.warn) {
		k, err := r.file(ctx, path)
		if err == nil {
			keys = append(keys, k)
			continue
		}
		r.tried = append(r.tried, "key "+path)
		if !os.IsNotExist(err) {
			r.cfg.warn(fmt.Sprintf("key %s is not used: %v", path, err))
		}
	}
	return keys
}

func (r *keyring) file(ctx context.Context, path string) (*key, error) {
	public := readPublic(path + ".pub")
	text, err := os.ReadFile(path)
	if err != nil {
		if public != nil {
			return &key{name: "key " + path, public: public}, nil
		}
		return nil, err
	}
	parsed, err := xssh.ParsePrivateKey(text)
	var locked *xssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return r.lockedFile(ctx, path, text, locked.PublicKey, public)
	case err != nil:
		if public := readPublic(path); public != nil { // IdentityFile may name the public half
			return &key{name: "key " + path, public: public}, nil
		}
		return nil, err
	}
	signer, ok := parsed.(xssh.AlgorithmSigner)
	if !ok || parsed.PublicKey().Type() == xssh.InsecureKeyAlgoDSA {
		return nil, fmt.Errorf("keys of type %s are not supported", parsed.PublicKey().Type())
	}
	return &key{"key " + path, parsed.PublicKey(), signer.SignWithAlgorithm}, nil
}

// lockedFile is an encrypted key. Its passphrase is asked for when the host has accepted its public half,
// or at once where that is not known.
func (r *keyring) lockedFile(ctx context.Context, path string, text []byte, embedded, beside xssh.PublicKey) (*key, error) {
	open := func() (xssh.AlgorithmSigner, error) {
		r.phase.pause()
		defer r.phase.enter(phaseAuthenticate)
		return r.cfg.Shared.unlock(ctx, path, func() (xssh.AlgorithmSigner, error) {
			return decrypt(ctx, path, text, r.cfg.Passphrase)
		})
	}
	public := embedded
	if public == nil {
		public = beside
	}
	if public == nil {
		signer, err := open()
		if err != nil {
			return nil, err
		}
		return &key{"key " + path, signer.PublicKey(), signer.SignWithAlgorithm}, nil
	}
	return &key{"key " + path, public, func(rand io.Reader, data []byte, algorithm string) (*xssh.Signature, error) {
		signer, err := open()
		if err != nil {
			return nil, err
		}
		return signer.SignWithAlgorithm(rand, data, algorithm)
	}}, nil
}

// decrypt asks for the passphrase of a key, up to three times if it is wrong.
func decrypt(ctx context.Context, path string, text []byte, ask func(context.Context, string) ([]byte, error)) (xssh.AlgorithmSigner, error) {
	for range 3 {
		passphrase, err := ask(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("it is encrypted: %w", err)
		}
		signer, err := xssh.ParsePrivateKeyWithPassphrase(text, passphrase)
		clear(passphrase)
		if errors.Is(err, x509.IncorrectPasswordError) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s, ok := signer.(xssh.AlgorithmSigner); ok {
			return s, nil
		}
		return nil, fmt.Errorf("keys of type %s are not supported", signer.PublicKey().Type())
	}
	return nil, errors.New("wrong passphrase")
}

// addCertificates puts the certificates of CertificateFile and KEY-cert.pub before their keys.
func (r *keyring) addCertificates(ctx context.Context) {
	paths := r.set.paths(r.set.certificateFiles, r.cfg.warn)
	for _, path := range r.set.paths(r.set.identityFiles, func(string) {}) {
		paths = append(paths, path+"-cert.pub")
	}
	for _, path := range paths {
		cert, ok := readPublic(path).(*xssh.Certificate)
		if !ok {
			continue
		}
		for i, k := range r.keys {
			if sameKey(k.public, cert.Key) {
				r.keys = slices.Insert(r.keys, i, &key{"certificate " + path, cert, k.sign})
				break
			}
		}
	}
}

// readPublic returns the public key or certificate in a file, or nil.
func readPublic(path string) xssh.PublicKey {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	public, _, _, _, err := xssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return public
}

func plainKey(k xssh.PublicKey) xssh.PublicKey {
	if cert, ok := k.(*xssh.Certificate); ok {
		return cert.Key
	}
	return k
}

func sameKey(a, b xssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }
