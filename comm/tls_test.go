package comm_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/pprun/pprun/comm"
)

func init() {
	programs["enters"] = func() {
		c, err := comm.Init(context.Background())
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		c.Close()
	}
}

func TestCertificates(t *testing.T) {
	ca, other := newAuthority(t, "test"), newAuthority(t, "test")
	for _, c := range []struct {
		name, server, client string
		serverCA, clientCA   *authority // that signed it; each end trusts the authority of the other
		rank, hub            string     // what the two say
	}{
		{"rank of another authority", "hub", "node/1/ranks/1", ca, other, "tls: unknown certificate authority", "signed by unknown authority"},
		{"rank of another job", "hub", "../old/node/1/ranks/1", ca, ca, "bad certificate", `its certificate is of job "old"`},
		{"rank not in the certificate", "hub", "node/1/ranks/0,2-9", ca, ca, "it claims rank 1, which its certificate does not name", "it claims rank 1"},
		{"rank of another node", "hub", "node/0/ranks/1", ca, ca, "it claims rank 1, which its certificate does not name", "it claims rank 1"},
		{"no ranks at all", "hub", "node/1/ranks/x", ca, ca, "bad certificate", `a certificate for ranks "x"`},
		{"hub of another authority", "hub", "node/1/ranks/1", other, ca, "the peer is not this job's hub: x509: certificate signed by unknown authority", ""},
		{"hub of another job", "../old/hub", "node/1/ranks/1", ca, ca, `its certificate is of job "old"`, ""},
		{"rank that poses as hub", "node/2/ranks/2", "node/1/ranks/1", ca, ca, "not this job's hub: x509: certificate specifies an incompatible key usage", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAgent(t, 2, "tcp")
			a.places[0].Server = c.serverCA.issue(uri(c.server))
			a.places[1].Client = c.clientCA.issue(uri(c.client))
			a.places[0].Server.CA, a.places[1].Client.CA = ca.cert.Raw, ca.cert.Raw
			hub, rank := a.start(0, "enters"), a.start(1, "enters")
			rank.exit(t)
			hub.Process.Kill()
			hub.exit(t)
			if !strings.Contains(rank.out.String(), c.rank) {
				t.Errorf("the rank says %q %q, want %q", &rank.out, &rank.err, c.rank)
			}
			if !strings.Contains(hub.err.String(), c.hub) {
				t.Errorf("the hub says %q, want %q", &hub.err, c.hub)
			}
		})
	}
}

func uri(rest string) string {
	if old, ok := strings.CutPrefix(rest, "../"); ok {
		return "pprun://job/" + old
	}
	return "pprun://job/test/" + rest
}

func TestStrangersAtTheDoor(t *testing.T) {
	a := newAgent(t, 3, "tcp")
	addr := a.places[1].Hub[0].Addr
	for i := range 100 { // more than may be pending: most say nothing, some nonsense
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%4 == 0 {
			b := make([]byte, 2000)
			rand.Read(b)
			conn.Write(b)
		}
	}
	if out := a.run("farm"); out[0] != "30 [0 1 2] 3 3\n" {
		t.Errorf("got %q", out)
	}
}

func TestSecondRankIsRefused(t *testing.T) {
	a := newAgent(t, 3, "tcp")
	hub, rank := a.start(0, "enters"), a.start(1, "enters")
	again := a.start(1, "enters")
	var told *process
	// Whichever of the two came first is in; the other is told so.
	done := make(chan *process, 2)
	for _, p := range []*process{rank, again} {
		go func() { p.exit(t); done <- p }()
	}
	told = <-done
	if !strings.Contains(told.out.String(), "rank 1 is in already") {
		t.Errorf("the second says %q %q", &told.out, &told.err)
	}
	last := a.start(2, "enters")
	for _, p := range []*process{hub, last} {
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d, %q %q", code, &p.out, &p.err)
		}
	}
	if p := <-done; p.ProcessState.ExitCode() != 0 {
		t.Errorf("the first: %v, %q", p.ProcessState, &p.out)
	}
	if said := hub.err.String(); !strings.Contains(said, "rank 0: the hub turns away 127.0.0.1:") || !strings.Contains(said, "rank 1 is in already") {
		t.Errorf("the hub says %q", said)
	}
}
