package door

import (
	"crypto/tls"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// TestPpftAttacks tries what opens a server of Parallel Python: its known secret, proofs by one side only, a server that
// anybody can be, a length without bounds before the login, and the silence of strangers.
func TestPpftAttacks(t *testing.T) {
	t.Run("default secret", func(t *testing.T) {
		for _, text := range []string{"epo20pdosl;dksldkmm\n", "secret\n", "0\n", " \n00000000\n", strings.Repeat("x", 64) + "\n"} {
			ring := ringOf(t, true)
			rewrite(t, ring.path(secretFile), text)
			if _, err := Open(ring.Dir); err == nil || !strings.Contains(err.Error(), "want at least 32 hexadecimal digits") {
				t.Errorf("%q: %v", text, err)
			}
		}
		ring := ringOf(t, true)
		rewrite(t, ring.path(secretFile), "") // nobody knows what is not there
		os.Remove(ring.path(clientsFile))
		if ring = open(t, ring.Dir); ring.Admits() {
			t.Error("an empty secret lets somebody in")
		}
	})
	t.Run("login without a proof", func(t *testing.T) {
		h := serve(t, ringOf(t, true))
		for _, proofs := range [][]byte{nil, make([]byte, proofLen), make([]byte, 4*proofLen), []byte("epo20pdosl;dksldkmm")} {
			conn := h.handshake(t)
			frame.Write(conn, frame.Header{Kind: kindLogin, ID: Version}, proofs)
			if got, _, err := readFrame(conn); err != nil || got.Kind != kindRefuse {
				t.Errorf("%d bytes of proofs: kind %d, %v", len(proofs), got.Kind, err)
			}
		}
	})
	t.Run("server that believes everybody", func(t *testing.T) { // and whom we therefore must not
		address := stranger(t, func(conn *tls.Conn) {
			if _, _, err := readFrame(conn); err == nil {
				frame.Write(conn, frame.Header{Kind: kindWelcome}, make([]byte, proofLen))
			}
		})
		ring := ringOf(t, true)
		ring.servers = nil // it knows no server, only the secret
		if conn, err := Dial(t.Context(), address, ring, false); err == nil || !strings.Contains(err.Error(), "knows no secret of ours") {
			t.Errorf("%v, %v", conn, err)
		}
	})
	t.Run("server that plays our own proof back", func(t *testing.T) {
		address := stranger(t, func(conn *tls.Conn) {
			if _, proofs, err := readFrame(conn); err == nil {
				frame.Write(conn, frame.Header{Kind: kindWelcome}, proofs[:proofLen])
			}
		})
		ring := ringOf(t, true)
		ring.servers = nil
		if conn, err := Dial(t.Context(), address, ring, false); err == nil || !strings.Contains(err.Error(), "knows no secret of ours") {
			t.Errorf("%v, %v", conn, err)
		}
	})
	t.Run("endless length", func(t *testing.T) {
		h := serve(t, ringOf(t, true))
		for kind := range 256 {
			conn := h.handshake(t)
			head := make([]byte, frame.HeaderLen)
			frame.Put(head, frame.Header{Len: math.MaxUint32, Kind: frame.Kind(kind), ID: math.MaxUint64})
			conn.Write(head)
			conn.SetReadDeadline(time.Now().Add(20 * time.Second)) // the server's patience is shorter
			if n, err := io.Copy(io.Discard, conn); n > 0 || err != nil && strings.Contains(err.Error(), "timeout") {
				t.Fatalf("kind %d: %d bytes, %v", kind, n, err)
			}
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		h := serve(t, ringOf(t, true))
		conn, err := net.Dial("tcp", h.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write([]byte("18446744073709551615\n")) // a length, as ppft has it
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		b, err := io.ReadAll(conn)
		if len(b) > 64 || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("it answers %q, %v", b, err)
		}
	})
}

// handshake connects to a house as one who has no key.
func (h *house) handshake(t *testing.T) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", h.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// stranger is a server with a key of its own that does what it does with each client.
func stranger(t *testing.T, with func(*tls.Conn)) (address string) {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{key.cert}, NextProtos: []string{protocol}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go with(conn.(*tls.Conn))
		}
	}()
	return l.Addr().String()
}
