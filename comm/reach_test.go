package comm_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"github.com/pprun/pprun/comm/place"
)

// A stranger takes connections and does what it does with them. It returns its address.
func stranger(t *testing.T, with func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			with(c)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// strangers are all that may answer in place of the hub: nobody, one that says nothing, one that talks, and the hub of
// another job.
func strangers(t *testing.T) (addresses []string, why string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	id := newAuthority(t, "other").issue("pprun://job/other/hub")
	config, err := id.TLS()
	if err != nil {
		t.Fatal(err)
	}
	other := stranger(t, func(c net.Conn) { go tls.Server(c, config).Handshake() })
	mute := stranger(t, func(net.Conn) {})
	hangsUp := stranger(t, func(c net.Conn) { c.Close() })
	talks := stranger(t, func(c net.Conn) { c.Write([]byte("220 mail\r\n")) })
	return []string{l.Addr().String(), hangsUp, mute, talks, other},
		fmt.Sprintf("%s: connection refused; %s: hung up; %s: timed out; %s: not this job's hub; %s: not this job's hub",
			l.Addr(), hangsUp, mute, talks, other)
}

// A rank gets past strangers to the hub.
func TestStrangersAtTheAddresses(t *testing.T) {
	a := newAgent(t, 3, "tcp")
	hub := a.places[1].Hub[0]
	first, _ := strangers(t)
	for i := range a.places[1:] {
		p := &a.places[1+i]
		p.Hub = nil
		for _, addr := range first {
			p.Hub = append(p.Hub, place.Address{Network: "tcp", Addr: addr})
		}
		p.Hub = append(p.Hub, hub)
	}
	if out := a.run("farm"); out[0] != "30 [0 1 2] 3 3\n" {
		t.Errorf("got %q", out)
	}
}

// Where no address is the hub's, the link goes through the relay.
func TestRelay(t *testing.T) {
	a := newAgent(t, 3, "tcp")
	addresses, why := strangers(t)
	a.addRelay(addresses...)
	if out := a.run("farm"); out[0] != "30 [0 1 2] 3 3\n" {
		t.Errorf("got %q", out)
	}
	for range 2 {
		if got := <-a.relayed; got != why {
			t.Errorf("the agent is told %q, want %q", got, why)
		}
	}
}

// A relay that breaks is asked for again, though an address may still answer.
func TestRelayIsTriedAgain(t *testing.T) {
	a := newAgent(t, 2, "tcp")
	a.addRelay(stranger(t, func(net.Conn) {}))
	a.hangUp = 1
	if out := a.run("farm"); out[0] != "30 [0 1] 2 2\n" {
		t.Errorf("got %q", out)
	}
}

func TestRelayAtOnceWithoutAddresses(t *testing.T) {
	a := newAgent(t, 2, "tcp")
	a.addRelay()
	if out := a.run("farm"); out[0] != "30 [0 1] 2 2\n" {
		t.Errorf("got %q", out)
	}
	if why := <-a.relayed; why != "it has no address" {
		t.Errorf("the agent is told %q", why)
	}
}

// A rank 0 that calls Init late is no reason for the relay: its address is taken, though the relay has been tried.
func TestLateHubIsReachedDirectly(t *testing.T) {
	a := newAgent(t, 2, "tcp")
	hub := a.places[1].Hub[0]
	a.addRelay(hub.Addr)
	rank := a.start(1, "farm")
	<-a.askedRelay
	zero := a.start(0, "farm")
	for _, p := range []*process{zero, rank} {
		if code := p.exit(t); code != 0 || p.err.Len() > 0 {
			t.Errorf("exit status %d, %s", code, &p.err)
		}
	}
	select {
	case why := <-a.relayed:
		t.Errorf("the relay is used: %s", why)
	default:
	}
}

// Another process of the same user at the relay's socket proves nothing.
func TestStrangerAtTheRelay(t *testing.T) {
	a := newAgent(t, 2, "tcp")
	a.addRelay()
	a.places[1].Client = newAuthority(t, "test").issue("pprun://job/test/node/1/ranks/1")
	a.places[1].Client.CA = a.places[0].Server.CA
	hub, rank := a.start(0, "enters"), a.start(1, "enters")
	rank.exit(t)
	hub.Process.Kill()
	hub.exit(t)
	const want = "pprun: rank 0: the hub turns away who comes through the relay: tls: failed to verify certificate: x509: certificate signed by unknown authority"
	if got := hub.err.String(); len(got) < len(want) || got[:len(want)] != want {
		t.Errorf("the hub says %q, want %q", got, want)
	}
}
