//go:build linux

package agent

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

func init() {
	programs["take"] = takePlace
	programs["take-twice"] = takeTwice
}

// takePlace takes its place, prints it, and proves the hub's listeners by a connection through each.
func takePlace() {
	role := place.SPMD
	if os.Getenv("PPRUN_RANK") == "1" {
		role = place.Serve
	}
	link, err := place.Take(context.Background(), role)
	if err != nil {
		fmt.Println(err)
		return
	}
	p := link.Place
	fmt.Println(p.Rank, p.Size, p.LocalRank, p.Node, p.Nodes, p.NodeOf, p.Slots, p.Listeners, len(link.Listeners), p.Client != nil, p.Server != nil)
	for _, l := range link.Listeners {
		go func() { // rank 0: greets one caller on each
			c, err := l.Accept()
			if err != nil {
				fmt.Println(err)
				return
			}
			c.Write([]byte("hub\n"))
			c.Close()
		}()
	}
	for _, h := range p.Hub {
		c, err := net.Dial(h.Network, h.Addr)
		if err != nil {
			fmt.Println(err)
			continue
		}
		b, _ := io.ReadAll(c)
		fmt.Printf("%s %s", h.Network, b)
	}
	for _, i := range []*place.Identity{p.Client, p.Server} {
		if i != nil {
			_, err := x509.ParsePKCS8PrivateKey(i.Key)
			fmt.Println(string(i.CA), string(i.Cert), i.Time, err)
		}
	}
	io.Copy(io.Discard, os.Stdin)
	if role == place.SPMD {
		link.Bye()
	}
}

// takeTwice asks for a place that is taken.
func takeTwice() {
	place.Take(context.Background(), place.SPMD)
	_, err := place.Take(context.Background(), place.SPMD)
	fmt.Println(err)
	os.Setenv(place.EnvRank, "1")
	_, err = place.Take(context.Background(), place.SPMD)
	fmt.Println(err)
}

func testProgram(n int, name string) Start {
	s := sh(n, "")
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	s.Program, s.Args = Program{Path: self, Name: "t"}, nil
	s.Env = []string{"AGENT_TEST_PROGRAM=" + name}
	return s
}

func TestRanksTakeTheirPlaces(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.send(KindListen, Listen{Addresses: []string{"0.0.0.0", "::", "::ffff:0.0.0.0", "192.0.2.77", "127.0.0.1"}})
	l.wait("listening", func() bool { return l.values[KindListening] != nil })
	at, err := Decode[Listening](l.values[KindListening])
	if err != nil || len(at.Addresses) == 0 || len(at.Addresses) > maxAddresses || !strings.HasPrefix(at.Addresses[0], "127.0.0.1:") || len(at.PublicKey) == 0 {
		t.Fatalf("%+v, %v", at, err)
	}
	s := testProgram(2, "take")
	s.Nodes = []string{"here", "there"}
	for _, addr := range at.Addresses {
		if ip := netip.MustParseAddrPort(addr).Addr(); ip.IsUnspecified() {
			t.Errorf("the hub listens on %s", addr)
		}
	}
	s.Hub, s.CA, s.ClientCert, s.HubCert, s.Time = at.Addresses, []byte("ca"), []byte("client"), []byte("hubcert"), 7
	for i := range s.Ranks {
		s.Ranks[i].Stdin = StdinForward
	}
	l.start(s)
	want := map[uint32]string{
		0: fmt.Sprintf("0 2 0 0 [here there] [0 0] [2 2] [%sunix relay] %d true true\nca client 7 <nil>\nca hubcert 7 <nil>\n",
			strings.Repeat("tcp ", len(at.Addresses)), len(at.Addresses)+2),
		1: "1 2 1 0 [here there] [0 0] [2 2] [] 0 true false\nunix hub\n" + strings.Repeat("tcp hub\n", len(at.Addresses)) + "ca client 7 <nil>\n",
	}
	l.wait("places", func() bool {
		return l.out[0] != nil && l.out[1] != nil && l.out[0].Len() >= len(want[0]) && l.out[1].Len() >= len(want[1])
	})
	for r, want := range want {
		if got := l.out[r].String(); got != want {
			t.Errorf("rank %d: got %q, want %q", r, got, want)
		}
	}
	l.wait("roles", func() bool {
		has := func(src uint32, role place.Role) bool {
			return slices.ContainsFunc(l.frames, func(h frame.Header) bool { return h.Kind == KindRole && h.Src == src && h.ID == uint64(role) })
		}
		return has(0, place.SPMD) && has(1, place.Serve)
	})
	for r := range 2 {
		l.conn.Send(frame.Header{Kind: KindStdin, Dst: uint32(r)}, nil)
	}
	if x := l.exited(2); !x[0].Left || x[1].Left {
		t.Errorf("rank 0 left, rank 1 did not say bye: %+v", x)
	}
	l.bye()
}

func TestPlaceIsGivenOnce(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	s := testProgram(2, "take-twice")
	s.Nodes, s.NodeOf, s.Ranks = []string{"here", "there"}, []int{0, 1}, s.Ranks[:1]
	pids := l.start(s)
	l.exited(1)
	want := fmt.Sprintf("place: the agent refuses rank 0: rank 0 is taken by process %d: one process of a rank calls comm.Init or comm.Main\n"+
		"place: the agent refuses rank 1: rank 1 does not run on here\n", pids[0])
	if got := l.out[0].String(); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	l.bye()
}

func TestAddresses(t *testing.T) {
	var own []netip.Addr
	for _, ip := range []string{"10.0.0.7", "::ffff:192.0.2.1", "fd00::7", "172.17.0.1"} {
		own = append(own, netip.MustParseAddr(ip))
	}
	got := addresses([]string{"0.0.0.0", "::", "::ffff:0.0.0.0", "", "x", "224.0.0.1", "fe80::1%eth0", "192.0.2.1"}, own)
	if want := "[192.0.2.1 10.0.0.7 fd00::7 172.17.0.1]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	for _, ip := range OwnAddresses() {
		if !ip.IsGlobalUnicast() {
			t.Errorf("%v is said to be of use to others", ip)
		}
	}
}
