package agent

import (
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/pprun/pprun/comm/frame"
)

// welcome answers hello with ready.
func (a *agent) welcome(payload []byte) error {
	hello, err := Decode[Hello](payload)
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	a.hello, a.host = hello, hello.Host
	if hello.Version != Version {
		a.fail(&Failure{Phase: "hello", Rank: -1, Code: 125,
			Text: fmt.Sprintf("pprun on %s speaks protocol %d, the launcher %d", hello.Host, Version, hello.Version),
			Fix:  "use one version of pprun"})
		return fmt.Errorf("hello: protocol %d, want %d", hello.Version, Version)
	}
	if !validJob(hello.Job) || hello.Node < 0 {
		return fmt.Errorf("hello: job %q, node %d", hello.Job, hello.Node)
	}
	if a.cfg.Heartbeat > 0 {
		hello.Heartbeat = min(hello.Heartbeat, a.cfg.Heartbeat)
	}
	a.expectBeats(hello.Heartbeat)
	r := Ready{Version: Version, OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0)}
	if a.cfg.Remote {
		r.Release, r.Reached = Release(), cmp.Or(a.cfg.Reached, reached(os.Getenv("SSH_CONNECTION")))
		r.Limits = OwnLimits()
		r.Path, _ = os.Executable()
		if r.Digest, err = Identity(); err != nil {
			return fmt.Errorf("hello: %w", err)
		}
	}
	if !hello.Alone { // else none of this is needed, and it takes as long as all else that is done here
		r.BootID = bootID()
		if r.PublicKey, a.key, err = newKey(); err != nil {
			return fmt.Errorf("hello: %w", err)
		}
	}
	if err := a.conn.SendValue(frame.Header{Kind: KindReady}, r); err != nil {
		return err
	}
	a.guard = startGuard(a.reaper, a.hello, a.cfg.Remote)
	a.dirs.guard = a.guard
	return nil
}

func validJob(id string) bool {
	b, err := hex.DecodeString(id)
	return err == nil && len(b) == 8
}

// newKey makes a key of this node for this job; the private half never leaves the process but to its ranks.
func newKey() (public []byte, key ed25519.PrivateKey, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	public, err = x509.MarshalPKIXPublicKey(pub)
	return public, key, err
}

// reached returns the server's address of SSH_CONNECTION ("client port server port").
func reached(connection string) string {
	f := strings.Fields(connection)
	if len(f) != 4 {
		return ""
	}
	return f[2]
}

// Release is the version that `go install` or the version control system gave this build.
func Release() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return b.Main.Version
}
