package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/skeema/knownhosts"
	xssh "golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// hostKeyAlgorithms are those offered to a host of which no key is known, and after those of the known
// keys to others. Ed25519 comes first, as in OpenSSH, so that both add the same keys to known_hosts.
var hostKeyAlgorithms = []string{
	xssh.KeyAlgoED25519, xssh.KeyAlgoECDSA256, xssh.KeyAlgoECDSA384, xssh.KeyAlgoECDSA521,
	xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256,
}

var certAlgorithms = []string{
	xssh.CertAlgoED25519v01, xssh.CertAlgoECDSA256v01, xssh.CertAlgoECDSA384v01, xssh.CertAlgoECDSA521v01,
	xssh.CertAlgoRSASHA512v01, xssh.CertAlgoRSASHA256v01,
}

// anyAddr stands for the address of the host: keys are looked up by name only, as CheckHostIP no does.
var anyAddr = &net.TCPAddr{IP: net.IPv4zero}

// hostKeys checks the key of one host against the known_hosts files.
type hostKeys struct {
	host      string // as it was given, for messages
	address   string // host:port or alias:22, what the files are searched for
	files     []knownHostsFile
	acceptNew bool
	writeTo   string // file that new keys are added to
	hash      bool   // names of new keys
	warn      func(string)
}

type knownHostsFile struct {
	path string
	db   *knownhosts.HostKeyDB
}

func newHostKeys(s *settings, cfg Config) *hostKeys {
	k := &hostKeys{
		host:      s.host,
		address:   net.JoinHostPort(strings.ToLower(s.hostName), strconv.Itoa(s.port)),
		acceptNew: cfg.AcceptNew || s.acceptNew(),
		hash:      s.hashKnownHosts,
		warn:      cfg.warn,
	}
	if s.hostKeyAlias != "" {
		k.address = net.JoinHostPort(strings.ToLower(s.hostKeyAlias), "22")
	}
	user := s.paths(s.userKnownHosts, cfg.warn)
	if len(user) > 0 {
		k.writeTo = user[0]
	}
	for _, path := range append(user, s.globalKnownHosts...) {
		if db := loadKnownHosts(path, cfg.warn); db != nil {
			k.files = append(k.files, knownHostsFile{path, db})
		}
	}
	return k
}

// algorithms returns the host key algorithms to offer: those of known keys first. Without this order a
// host would present a key that nobody has stored, and look like an impostor (golang.org/issue/29286).
func (k *hostKeys) algorithms() []string {
	var known []string
	for _, f := range k.files {
		for _, key := range f.db.HostKeys(k.address) {
			switch {
			case key.Cert:
				known = append(known, certAlgorithms...)
			case key.Type() == xssh.KeyAlgoRSA:
				known = append(known, xssh.KeyAlgoRSASHA512, xssh.KeyAlgoRSASHA256)
			case slices.Contains(hostKeyAlgorithms, key.Type()):
				known = append(known, key.Type())
			}
		}
	}
	var all []string
	for _, algorithm := range append(known, hostKeyAlgorithms...) {
		if !slices.Contains(all, algorithm) {
			all = append(all, algorithm)
		}
	}
	return all
}

// check accepts or refuses the key of the host. A certificate whose authority is not known is judged by
// the key in it.
func (k *hostKeys) check(ctx context.Context, key xssh.PublicKey) error {
	cert, isCert := key.(*xssh.Certificate)
	plain := plainKey(key)
	if isCert {
		if err := k.revoked(cert.SignatureKey); err != nil {
			return err
		}
	}
	if err := k.revoked(plain); err != nil {
		return err
	}
	err := k.lookup(key)
	if err != nil && isCert {
		if plainErr := k.lookup(plain); plainErr == nil || !isUnknown(plainErr) || isUnknown(err) {
			err = plainErr
		}
	}
	if err == nil {
		return nil
	}
	return k.refuse(ctx, plain, err)
}

// refuse says why a key is refused, or accepts an unknown one where that is asked for.
func (k *hostKeys) refuse(ctx context.Context, key xssh.PublicKey, err error) error {
	var keyErr *xknownhosts.KeyError
	if !errors.As(err, &keyErr) {
		return &hostKeyError{err: err}
	}
	fingerprint := key.Type() + " " + xssh.FingerprintSHA256(key)
	if len(keyErr.Want) > 0 {
		want := keyErr.Want[0]
		return &hostKeyError{
			err: fmt.Errorf("it has changed: the host has %s, known is %s %s in %s:%d", fingerprint,
				want.Key.Type(), xssh.FingerprintSHA256(want.Key), want.Filename, want.Line),
			fix: fmt.Sprintf("somebody may be intercepting the connection; if the host was reinstalled: ssh-keygen -f %s -R '%s'",
				want.Filename, knownhosts.Normalize(k.address)),
		}
	}
	if k.acceptNew && k.writeTo != "" {
		if err := k.add(ctx, key); err != nil {
			return &hostKeyError{err: err}
		}
		return nil
	}
	return &hostKeyError{unknown: true, err: fmt.Errorf("%s is not known", fingerprint)}
}

// ErrUnknownHostKey is what an [Error] is (errors.Is) when known_hosts has no key of the host: Config.AcceptNew would add it.
var ErrUnknownHostKey = errors.New("unknown host key")

// A hostKeyError is a refusal of the host's key.
type hostKeyError struct {
	unknown bool
	err     error
	fix     string
}

func (e *hostKeyError) Error() string { return e.err.Error() }
func (e *hostKeyError) Unwrap() error { return e.err }

// Is makes an unknown key [ErrUnknownHostKey].
func (e *hostKeyError) Is(target error) bool { return e.unknown && target == ErrUnknownHostKey }

// revoked refuses a key that one of the files revokes.
func (k *hostKeys) revoked(key xssh.PublicKey) error {
	for _, f := range k.files {
		var revoked *xknownhosts.RevokedError
		if errors.As(f.db.HostKeyCallback()(k.address, anyAddr, key), &revoked) {
			return &hostKeyError{
				err: fmt.Errorf("%s %s is revoked in %s:%d", key.Type(), xssh.FingerprintSHA256(key), f.path, revoked.Revoked.Line),
				fix: "do not trust this host before its administrator has given it a new key",
			}
		}
	}
	return nil
}

// lookup searches all files: known in one is known; a different key in one is a changed key. Keys of
// authorities do not count as keys of the host.
func (k *hostKeys) lookup(key xssh.PublicKey) error {
	all := &xknownhosts.KeyError{}
	var other error
	for _, f := range k.files {
		err := f.db.HostKeyCallback()(k.address, anyAddr, key)
		if err == nil {
			return nil
		}
		var keyErr *xknownhosts.KeyError
		if !errors.As(err, &keyErr) {
			other = err
			continue
		}
		for _, want := range keyErr.Want {
			if !f.isAuthority(k.address, want.Key) {
				want.Filename = f.path
				all.Want = append(all.Want, want)
			}
		}
	}
	if other != nil {
		return other
	}
	return all
}

func isUnknown(err error) bool {
	var keyErr *xknownhosts.KeyError
	return errors.As(err, &keyErr) && len(keyErr.Want) == 0
}

func isUnknownKey(err error) bool {
	var e *hostKeyError
	return errors.As(err, &e) && e.unknown
}

func (f knownHostsFile) isAuthority(address string, key xssh.PublicKey) bool {
	return slices.ContainsFunc(f.db.HostKeys(address), func(k knownhosts.PublicKey) bool {
		return k.Cert && bytes.Equal(k.Marshal(), key.Marshal())
	})
}
