package ssh

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	xssh "golang.org/x/crypto/ssh"
)

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
		r.tried = append(r.tried, path)
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
	if err == nil || errors.As(err, &locked) {
		if err := closed(path); err != nil {
			return nil, err
		}
	}
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
	if !ok || !supported(parsed.PublicKey()) {
		return nil, fmt.Errorf("keys of type %s are not supported", parsed.PublicKey().Type())
	}
	return &key{"key " + path, parsed.PublicKey(), signer.SignWithAlgorithm}, nil
}

// closed refuses a file of a private key that is ours and that others may use, as ssh does.
func closed(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if s, ok := st.Sys().(*syscall.Stat_t); ok && int(s.Uid) == os.Getuid() && st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others may use it (mode %04o): chmod 600 %s", st.Mode().Perm(), path)
	}
	return nil
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
	return nil, fmt.Errorf("wrong passphrase, three times: try again, or load it into an agent: ssh-add %s", path)
}

// addCertificates puts the certificates of CertificateFile and KEY-cert.pub before their keys.
func (r *keyring) addCertificates() {
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
