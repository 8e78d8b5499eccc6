package ssh

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	xssh "golang.org/x/crypto/ssh"
)

// authentication offers one key after the other. (Offering them as one list would end at the first key
// that cannot sign.)
type authentication struct {
	*dialing
	ring    *keyring
	offered []string // names of keys
	allowed []string // methods the host accepts
	failed  error    // of the first key that the host accepted and that could not sign
}

// next returns the next key to try; nil when there are no more.
func (a *authentication) next(ctx context.Context, allowed []string) (xssh.AuthMethod, error) {
	a.allowed = allowed
	if !slices.Contains(allowed, "publickey") {
		return nil, nil
	}
	if a.ring == nil {
		a.ring = openKeyring(ctx, a.set, a.cfg, a.phase)
		a.phase.enter(phaseAuthenticate)
	}
	if len(a.offered) == len(a.ring.keys) {
		return nil, nil
	}
	k := a.ring.keys[len(a.offered)]
	a.offered = append(a.offered, k.name)
	var signer xssh.Signer = &key{k.name, k.public, func(rand io.Reader, data []byte, algorithm string) (*xssh.Signature, error) {
		signature, err := k.sign(rand, data, algorithm)
		if err != nil && a.failed == nil {
			a.failed = fmt.Errorf("%s: %w", k.name, err)
		}
		return signature, err
	}}
	return xssh.PublicKeys(signer), nil
}

func (a *authentication) close() {
	if a.ring != nil {
		a.ring.close()
	}
}

// A deniedError is the host's refusal of the user.
type deniedError struct {
	err error
	fix string
}

func (e *deniedError) Error() string { return e.err.Error() }
func (e *deniedError) Unwrap() error { return e.err }

// explain says why the host did not let the user in, if err is that.
func (a *authentication) explain(err error) error {
	if a.phase.current() != phaseAuthenticate || a.allowed == nil || isReset(err) {
		return err
	}
	if a.failed != nil {
		return a.failed
	}
	var tried, fix string
	switch {
	case !slices.Contains(a.allowed, "publickey"):
		tried, fix = "the host wants "+strings.Join(a.allowed, " or "), "only keys can be used here; see AuthenticationMethods of sshd there"
	case strings.Contains(err.Error(), "Too many authentication failures"):
		tried = fmt.Sprintf("the host heard only %d of %d keys", len(a.offered), len(a.ring.keys))
		fix = "name the right one with IdentityFile, and set IdentitiesOnly yes, in ~/.ssh/config"
	case len(a.offered) > 0:
		tried = "refused " + strings.Join(a.offered, ", ")
		fix = fmt.Sprintf("is the public key in ~/.ssh/authorized_keys of %[1]s there, and may %[1]s log in?", a.set.user)
	default:
		tried = "no key to offer, no usable one in " + strings.Join(append([]string{"an ssh-agent"}, a.ring.tried...), ", ")
		fix = "load a key with ssh-add, name one with IdentityFile, or make one with ssh-keygen and take it there with ssh-copy-id"
	}
	return &deniedError{fmt.Errorf("permission denied for user %s: %s", a.set.user, tried), fix}
}
