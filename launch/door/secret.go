package door

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

const (
	maxSecrets   = 4  // that a client proves to know, at most
	secretLen    = 32 // bytes of a new secret
	minSecretLen = 16
)

// A secret lets whoever knows it in.
type secret struct {
	bytes   []byte
	expires time.Time // zero: never
}

// newSecret is a line with a new secret.
func newSecret() string {
	b := make([]byte, secretLen)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// parseSecrets reads lines of hex digits, each with expires=TIME after it or not.
func parseSecrets(text string) ([]secret, error) {
	var all []secret
	for n, line := range lines(text) {
		word, rest, _ := strings.Cut(line, " ")
		s := secret{}
		var err error
		if s.bytes, err = hex.DecodeString(word); err != nil || len(s.bytes) < minSecretLen {
			return nil, fmt.Errorf("line %d: want at least %d hexadecimal digits: remove the file, and ppserver keygen --secret makes one", n, 2*minSecretLen)
		}
		if rest = strings.TrimSpace(rest); rest != "" {
			text, ok := strings.CutPrefix(rest, "expires=")
			if s.expires, err = time.Parse(time.RFC3339, text); !ok || err != nil {
				return nil, fmt.Errorf("line %d: want nothing after the secret, or expires= and a time such as 2030-01-31T12:00:00Z", n)
			}
		}
		all = append(all, s)
	}
	if len(all) > 2 {
		return nil, fmt.Errorf("%d secrets: want one, or two while one replaces the other", len(all))
	}
	return all, nil
}

func (s secret) valid() bool { return s.expires.IsZero() || time.Now().Before(s.expires) }

// proved is the secret by which one of the proofs was made for that, nil if none was.
func proved(secrets []secret, role string, exported, proofs []byte) []byte {
	for ; len(proofs) >= proofLen; proofs = proofs[proofLen:] {
		for _, s := range secrets {
			if s.valid() && hmac.Equal(prove(s.bytes, role, exported), proofs[:proofLen]) {
				return s.bytes
			}
		}
	}
	return nil
}

// lines yields the lines of a file that say something, by their number.
func lines(text string) func(func(int, string) bool) {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "#") && !yield(n, line) {
				return
			}
		}
	}
}
