package door

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

const (
	dialWithin = 5 * time.Second        // for each attempt to connect
	tries      = 5                      // to log in, where the server drops us before it knows us: too many others want in
	tryAgain   = 200 * time.Millisecond // after which it is tried again, longer each time
)

// Dial connects to a server at host:port and logs in with what the keyring has. With acceptNew, a server that is not known
// is believed, and known from then on.
func Dial(ctx context.Context, address string, ring *Keyring, acceptNew bool) (*tls.Conn, error) {
	return dialAgain(ctx, &login{address: address, ring: ring, acceptNew: acceptNew, wants: wantAgent})
}

// Ask asks a server at host:port for its report.
func Ask(ctx context.Context, address string, ring *Keyring) ([]byte, error) {
	conn, err := dialAgain(ctx, &login{address: address, ring: ring, wants: wantReport})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(loginWithin))
	return io.ReadAll(io.LimitReader(conn, maxReport))
}

func dialAgain(ctx context.Context, l *login) (*tls.Conn, error) {
	for try := 1; ; try++ {
		conn, dropped, err := l.dial(ctx)
		if !dropped || try == tries {
			return conn, err
		}
		select {
		case <-time.After(time.Duration(try) * tryAgain):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// dial tries once. dropped says that the server closed the connection without a word.
func (l *login) dial(ctx context.Context) (secure *tls.Conn, dropped bool, err error) {
	dialer := net.Dialer{Timeout: dialWithin}
	conn, err := dialer.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, false, unreachable(l.address, err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(loginWithin + dialWithin))
	l.pin, l.secrets = l.ring.pin(l.address), nil
	if isLoopback(conn.RemoteAddr()) {
		l.secrets = append(l.secrets, l.ring.loopback...)
	}
	l.secrets = append(l.secrets, l.ring.secrets...)
	secure = tls.Client(conn, l.config())
	if err := l.run(secure); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w: it takes connections and says nothing: is that a ppserver, and does it run?", err)
		} else if _, other := errors.AsType[tls.RecordHeaderError](err); other {
			_, port, _ := net.SplitHostPort(l.address)
			err = fmt.Errorf("what answers on port %s is no ppserver: which port has it?", port)
		}
		return nil, isDrop(err), err
	}
	return secure, false, conn.SetDeadline(time.Time{})
}

// unreachable is why there is no connection to an address, and what to look at. It leaves the address out: many may have the
// same reason.
func unreachable(address string, err error) error {
	_, port, _ := net.SplitHostPort(address)
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return errors.New("no such host: is the name spelt right?")
		}
		why := dns.Err[strings.LastIndex(dns.Err, ": ")+1:] // without the ports that were asked from and at
		return fmt.Errorf("name server %s: %s: does it answer?", dns.Server, strings.TrimSpace(why))
	}
	timeout, network := errors.AsType[net.Error](err)
	errno, system := errors.AsType[syscall.Errno](err)
	switch {
	case network && timeout.Timeout():
		return fmt.Errorf("no answer to a connection for %v: is the host up, and no firewall before port %s?", dialWithin, port)
	case errno == syscall.ECONNREFUSED:
		return fmt.Errorf("%w: is ppserver running there on port %s?", errno, port)
	case errno == syscall.EHOSTUNREACH, errno == syscall.ENETUNREACH:
		return fmt.Errorf("%w: is the host up, and is there a route to it?", errno)
	case system:
		return errno
	}
	return err
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func isDrop(err error) bool {
	_, network := errors.AsType[*net.OpError](err)
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || network && !errors.Is(err, os.ErrDeadlineExceeded)
}

// login is a client's side of one.
type login struct {
	address   string
	ring      *Keyring
	acceptNew bool
	wants     uint32
	pin       ed25519.PublicKey // nil: not known
	secrets   []secret
	key       ed25519.PublicKey // of the server
}

func (l *login) config() *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protocol},
		InsecureSkipVerify: true, // of names and authorities: VerifyConnection and the proof do the rest
		VerifyConnection:   l.verify,
	}
	if l.ring.client != nil {
		c.Certificates = []tls.Certificate{l.ring.client.cert}
	}
	return c
}

// verify checks the server's key, as far as it is known. An unknown one has to prove that it has a secret of ours.
func (l *login) verify(state tls.ConnectionState) error {
	l.key = keyOf(state)
	switch {
	case l.key == nil:
		return errors.New("it shows no key of Ed25519: is a ppserver there?")
	case l.pin == nil && len(l.secrets) == 0 && !l.acceptNew:
		return fmt.Errorf("its key %s is not known: if it prints the same there, add this line to %s, or use --accept-new:\n%s %s",
			Fingerprint(l.key), l.ring.path(serversFile), l.address, FormatPublic(l.key))
	case l.pin != nil && !l.pin.Equal(l.key):
		return fmt.Errorf("its key is %s, but %s has %s: somebody else may have answered; if not, mend that line",
			Fingerprint(l.key), l.ring.path(serversFile), Fingerprint(l.pin))
	}
	return nil
}

func (l *login) run(secure *tls.Conn) error {
	if err := secure.Handshake(); err != nil {
		return err
	}
	exported, err := export(secure)
	if err != nil {
		return err
	}
	var proofs []byte
	for _, s := range l.secrets {
		if s.valid() && len(proofs) < maxSecrets*proofLen {
			proofs = append(proofs, prove(s.bytes, roleClient, exported)...)
		}
	}
	if err := frame.Write(secure, frame.Header{Kind: kindLogin, Dst: l.wants, ID: Version}, proofs); err != nil {
		return err
	}
	h, payload, err := readFrame(secure)
	switch {
	case err != nil:
		return err
	case h.Kind == kindRefuse:
		return fmt.Errorf("the ppserver refuses this client: %.200s", payload)
	case h.Kind != kindWelcome:
		return fmt.Errorf("a frame of kind %d in answer to the login", h.Kind)
	case l.pin != nil || proved(l.secrets, roleServer, exported, payload) != nil:
		return nil
	case l.acceptNew:
		return l.ring.know(l.address, l.key)
	}
	return fmt.Errorf("its key %s is not known, and it knows no secret of ours: use --accept-new if it is the one", Fingerprint(l.key))
}
