package door

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var here = netip.MustParseAddr("127.0.0.1")

// announced is a server on this machine that announces itself.
func announced(t *testing.T, ring *Keyring) netip.AddrPort {
	t.Helper()
	at := netip.MustParseAddrPort(serve(t, ring).address)
	close, err := NewServer(ring).Announce(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close() })
	return at
}

func TestDiscover(t *testing.T) {
	ring := ringOf(t, true)
	one, other := announced(t, ring), announced(t, ring)
	announced(t, ringOf(t, true)) // of somebody else
	found, err := discover(t.Context(), ring, []netip.Addr{here})
	if one.Compare(other) > 0 {
		one, other = other, one
	}
	if err != nil || len(found) != 2 || found[0] != one || found[1] != other {
		t.Errorf("found %v, %v, want %v and %v", found, err, one, other)
	}
}

func TestDiscoverWithoutSecret(t *testing.T) {
	ring := ringOf(t, false)
	if _, err := Discover(t.Context(), ring); err == nil || !strings.Contains(err.Error(), "ppserver keygen --secret") {
		t.Errorf("%v", err)
	}
	if _, err := NewServer(ring).Announce(netip.AddrPortFrom(here, 1)); err == nil || !strings.Contains(err.Error(), "ppserver keygen --secret") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := discover(ctx, ringOf(t, true), []netip.Addr{here}); err != context.Canceled {
		t.Errorf("%v", err)
	}
}

// Whoever does not know the secret lures nobody: not with answers of its own making, nor with old ones, nor with such for
// another address. A true server on the same network is found all the same.
func TestLures(t *testing.T) {
	ring, strange := ringOf(t, true), ringOf(t, true)
	known, nonce := ring.secrets[0].bytes, bytes.Repeat([]byte{7}, nonceLen)
	lure := "127.0.0.1:666"
	if a, ok := parseAnswer(formatAnswer(nonce, known, lure), nonce, ring.secrets); !ok || a.String() != lure {
		t.Fatalf("a good answer: %v, %v", a, ok)
	}
	queries, err := joinGroup(here)
	if err != nil {
		t.Fatal(err)
	}
	defer queries.Close()
	lured := make(chan int, 1)
	go func() {
		n := 0
		defer func() { lured <- n }()
		for buf := make([]byte, maxDatagram); ; {
			size, from, err := queries.ReadFrom(buf)
			if err != nil {
				return
			}
			rest, ok := bytes.CutPrefix(buf[:size], []byte(queryMagic))
			if !ok {
				continue
			}
			asked := rest[:nonceLen]
			good := formatAnswer(asked, known, "10.0.0.1:1")
			moved := append(bytes.Clone(good[:len(good)-len("10.0.0.1:1")]), lure...)
			for _, answer := range [][]byte{
				formatAnswer(asked, strange.secrets[0].bytes, lure), // of another secret
				formatAnswer(nonce, known, lure),                    // of another question
				moved,                                               // for another address
				append([]byte(answerMagic), rest...),                // the proofs of the question
				{}, []byte(answerMagic), good[:len(answerMagic)+nonceLen+proofLen], bytes.Repeat([]byte{'x'}, maxDatagram),
				formatAnswer(asked, known, "0.0.0.0:1"), formatAnswer(asked, known, "nowhere"),
			} {
				queries.WriteTo(answer, from)
				n++
			}
		}
	}()
	at := announced(t, ring)
	found, err := discover(t.Context(), ring, []netip.Addr{here})
	if err != nil || len(found) != 1 || found[0] != at {
		t.Errorf("found %v, %v, want %v", found, err, at)
	}
	queries.Close()
	if n := <-lured; n == 0 {
		t.Error("nobody tried to lure it")
	}
}

// Nobody without the secret is answered.
func TestStrangersAskInVain(t *testing.T) {
	ring := ringOf(t, true)
	at := announced(t, ring)
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(here, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	nonce := make([]byte, nonceLen)
	good := formatQuery(nonce, ring.secrets)
	for _, b := range [][]byte{{}, []byte(queryMagic), formatQuery(nonce, nil), formatQuery(nonce, ringOf(t, true).secrets),
		append(bytes.Clone(good[:len(queryMagic)]), append(bytes.Repeat([]byte{1}, nonceLen), good[len(queryMagic)+nonceLen:]...)...),
		append(bytes.Clone(good), make([]byte, maxSecrets*proofLen)...),
		good, // which comes last, as its answer does
	} {
		if _, err := conn.WriteToUDPAddrPort(b, group); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, maxDatagram)
	n, err := conn.Read(buf)
	if err != nil || !bytes.Equal(buf[:n], formatAnswer(nonce, ring.secrets[0].bytes, at.String())) {
		t.Errorf("%q, %v", buf[:n], err)
	}
}
