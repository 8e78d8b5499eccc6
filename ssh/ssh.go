// Package ssh makes one connection to one host as the command `ssh HOST` would make it: with the
// settings of ssh_config(5), the keys of ssh-agent and of files, known_hosts and jump hosts. It speaks
// the protocol itself (golang.org/x/crypto/ssh), so that a connection costs no process and reports
// what went wrong with it by phase.
//
//	c, err := ssh.Dial(ctx, "node3", ssh.Config{})
//	if err != nil {
//		return err // node3: connect: timed out after 10s: is sshd running there?
//	}
//	defer c.Close()
//	s, err := c.Start(ctx, "exec cat") // s is an io.ReadWriteCloser over the command's stdin and stdout
//
// Settings are what `ssh -G HOST` prints; where no OpenSSH client is installed, the configuration files
// are read by a simpler parser, which warns about what it does not understand. Honoured are HostName,
// Port, User, AddressFamily, ConnectTimeout, IdentityFile, IdentitiesOnly, IdentityAgent,
// CertificateFile, ProxyJump, ProxyCommand, UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias,
// HashKnownHosts, StrictHostKeyChecking, Ciphers and KexAlgorithms. A ProxyCommand has no terminal.
//
// A host key must be known. An unknown one is refused, or with accept-new is added to known_hosts; a
// changed or revoked one is always refused, before anything is said about the user. StrictHostKeyChecking
// no means accept-new here. Authentication is by public key: keys of the agent that an IdentityFile names,
// other keys of the agent, then files. Agents are never forwarded. SHA-1 signatures and DSA are not used.
package ssh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Config says how to connect. The zero value connects as `ssh HOST` would.
type Config struct {
	User       string // "": as configured, else the local user
	Port       int    // 0: as configured, else 22
	ConfigFile string // instead of ~/.ssh/config and the system's, like ssh -F; "none": no file
	AcceptNew  bool   // add unknown host keys to the first UserKnownHostsFile instead of refusing them

	// Timeout limits each phase of Dial and Start. 0: ConnectTimeout as configured, else 10 s. The time
	// that a person takes to answer does not count.
	Timeout time.Duration
	// KeepAlive is the interval after which a silent host is asked for a sign of life. After three
	// intervals without any the connection is given up. 0: 5 s.
	KeepAlive time.Duration

	// Passphrase returns the passphrase of an encrypted key file. It is called only for a key that the
	// host accepts, one call at a time. nil: AskTerminal.
	Passphrase func(ctx context.Context, keyFile string) ([]byte, error)
	// Warn is told of what does not hinder the connection, such as a broken line in known_hosts. It may
	// be called from several goroutines at once. nil: nobody is told.
	Warn func(message string)
	// Aside calls wait, in which the connection does nothing but wait for name servers: whoever counts connections that
	// are made at the same time may leave it out meanwhile. nil: wait is called.
	Aside func(wait func())
	// Shared is what the connections of one program share. nil: nothing.
	Shared *Shared
}

// Dial connects to host, which is a name of ssh_config(5), a DNS name or an address. Errors are of type
// [*Error]. Once Dial has returned, ctx no longer matters to the connection. Connections that are
// closed before authentication, as sshd does when it is busy (MaxStartups), are tried again until
// Config.Timeout has passed.
func Dial(ctx context.Context, host string, cfg Config) (*Client, error) {
	if cfg.Shared == nil {
		cfg.Shared = new(Shared)
	}
	return dial(ctx, route{host: host, user: cfg.User, port: cfg.Port}, cfg)
}

// warn tells Config.Warn, once for all connections that share something.
func (c Config) warn(message string) {
	if c.Warn != nil && c.Shared.firstWarning(message) {
		c.Warn(message)
	}
}

// The phases of a connection, as Error.Phase tells them.
const (
	phaseResolve      = "resolve" // configuration and name
	phaseConnect      = "connect" // TCP connection, jump hosts, proxy command
	phaseBanner       = "banner"  // until the host says that it speaks SSH
	phaseKeyExchange  = "key exchange"
	phaseHostKey      = "host key"
	phaseAuthenticate = "authenticate"
	phaseStart        = "start" // of a command
	phaseLost         = "connection lost"
)

// An Error is a failure to connect to a host, or to start a command on it. It reads as
// "node3: connect: timed out after 10s: is sshd running there?".
type Error struct {
	Host  string // as it was given to Dial
	Phase string // resolve, connect, banner, key exchange, host key, authenticate, start, connection lost
	Err   error  // why
	Fix   string // what to do about it; may be empty
}

// Error returns host, phase, reason and fix, separated by colons.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s: %v", e.Host, e.Phase, e.Err)
	if e.Fix != "" {
		s += ": " + e.Fix
	}
	return s
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// errTimeout is the end of a phase that took too long. It is a context.DeadlineExceeded.
type errTimeout time.Duration

func (e errTimeout) Error() string        { return "timed out after " + time.Duration(e).String() }
func (e errTimeout) Is(target error) bool { return target == context.DeadlineExceeded }

// CheckDestination refuses names of users and hosts that a program they are handed to could take for anything but
// names. An empty user is none.
func CheckDestination(user, host string) error {
	if user == "" {
		return checkHost(host)
	}
	return errors.Join(checkUser(user), checkHost(host))
}

// checkHost refuses names that ssh or a shell could take for anything but a name.
func checkHost(host string) error { return checkWord("host name", host, "._:%-") }

func checkUser(user string) error { return checkWord("user name", user, "._-+@\\$") }

func checkWord(what, s, extra string) error {
	bad := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(extra, r))
	}
	switch {
	case s == "":
		return errors.New("empty " + what)
	case s[0] == '-' || strings.ContainsFunc(s, bad):
		return fmt.Errorf("%s %q: want letters, digits and %s, not beginning with a dash", what, s, strings.Join(strings.Split(extra, ""), " "))
	}
	return nil
}

func (c *Config) aside(wait func()) {
	if c.Aside != nil {
		c.Aside(wait)
	} else {
		wait()
	}
}
