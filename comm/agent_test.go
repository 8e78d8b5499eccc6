package comm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// An agent is what stands in for pprun on one node: it starts this test binary as ranks and hands out their places.
type agent struct {
	t         testing.TB
	socket    *net.UnixListener
	places    []place.Place
	files     []*os.File // the hub's listeners
	authority *authority
	relay     string // path of that for relays; empty: there is none
	trunk     *frame.Trunk
	hangUp    int // on that many relays

	askedRelay chan int // the rank, before it is given
	relayed    chan string
	asked      chan *place.Asker // who has got a place
	ended      chan ending
	open       sync.Once // at the first start, until when places may be changed
	serve      sync.WaitGroup
}

// An ending is how a rank left.
type ending struct {
	rank int
	role place.Role
	bye  bool
}

// newAgent makes an agent for size ranks that meet over a network, "unix" or "tcp".
func newAgent(t testing.TB, size int, network string) *agent {
	dir, err := os.MkdirTemp("", "pp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := &agent{t: t, asked: make(chan *place.Asker, size+1), ended: make(chan ending, size+1),
		askedRelay: make(chan int, size+1), relayed: make(chan string, size+1)}
	if a.socket, err = place.Listen(filepath.Join(dir, "agent")); err != nil {
		t.Fatal(err)
	}
	var hub interface {
		net.Listener
		File() (*os.File, error)
	}
	p := place.Place{Job: "test", Size: size, Listeners: []string{network}}
	if network == "unix" {
		hub, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "hub"), Net: "unix"})
	} else {
		hub, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := hub.File()
	if err != nil {
		t.Fatal(err)
	}
	a.files = []*os.File{file}
	for rank := range size {
		p.Nodes = append(p.Nodes, fmt.Sprintf("n%d", rank))
		p.NodeOf = append(p.NodeOf, rank)
		p.Slots = append(p.Slots, 1)
	}
	ca := newAuthority(t, "test")
	a.authority = ca
	for rank := range size {
		q := p
		q.Rank = rank
		if rank == 0 && network == "tcp" {
			q.Server = ca.issue("pprun://job/test/hub")
		}
		if rank > 0 {
			q.Listeners = nil
			q.Hub = []place.Address{{Network: network, Addr: hub.Addr().String()}}
			if network == "tcp" {
				q.Client = ca.issue(fmt.Sprintf("pprun://job/test/node/%d/ranks/%d", rank, rank))
			}
		}
		a.places = append(a.places, q)
	}
	t.Cleanup(func() {
		a.socket.Close()
		hub.Close()
		for len(a.asked) > 0 {
			(<-a.asked).Close()
		}
		a.serve.Wait()
		for _, file := range a.files {
			file.Close()
		}
	})
	return a
}

func (a *agent) accept() {
	for {
		conn, err := a.socket.AcceptUnix()
		if err != nil {
			return
		}
		asker, err := place.Accept(conn)
		if err != nil {
			continue
		}
		if asker.Ask.Relay {
			offer(a.askedRelay, asker.Ask.Rank)
			if a.hangUp > 0 {
				a.hangUp--
				asker.Relay()
				asker.Close()
				continue
			}
			a.serve.Go(func() { a.carry(asker) })
			continue
		}
		p := a.places[asker.Ask.Rank]
		var files []*os.File
		if len(p.Listeners) > 0 {
			files = a.files
		}
		if err := asker.Give(p, files); err != nil {
			a.t.Errorf("give rank %d its place: %v", p.Rank, err)
		}
		a.asked <- asker
		a.serve.Go(func() {
			a.ended <- ending{p.Rank, asker.Ask.Role, asker.Wait(place.News{Relayed: func(why string) { offer(a.relayed, why) }, Orphan: func(string) {}, Joined: func() {}, Missed: func(place.Missed) {}, Ran: func(place.Ran) {}})}
		})
	}
}

// offer is for what may come more often than anybody listens: who is turned away comes again.
func offer[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

// addRelay gives the hub a listener for relays, and the others a relay in place of its addresses and after some.
func (a *agent) addRelay(addresses ...string) {
	a.relay = filepath.Join(filepath.Dir(a.socket.Addr().String()), "relay")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: a.relay, Net: "unix"})
	if err != nil {
		a.t.Fatal(err)
	}
	file, err := l.File()
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { l.Close() })
	a.files = append(a.files, file)
	a.places[0].Listeners = append(a.places[0].Listeners, "relay")
	for i := range a.places[1:] {
		p := &a.places[1+i]
		p.Hub = nil
		for _, addr := range addresses {
			p.Hub = append(p.Hub, place.Address{Network: "tcp", Addr: addr})
		}
		p.Hub = append(p.Hub, place.Address{Network: "relay"})
	}
}

// addTrunk has all ranks but 0 be on one node, behind an agent that connects to the hub with a certificate for some of them.
func (a *agent) addTrunk(ranks string) {
	hub := a.places[1].Hub[0].Addr
	for i := range a.places {
		p := &a.places[i]
		p.Nodes = []string{"n0", "n1"}
		p.NodeOf = make([]int, len(a.places))
		for r := 1; r < len(a.places); r++ {
			p.NodeOf[r] = 1
		}
		if i > 0 {
			p.Hub, p.Client = []place.Address{{Network: "node"}}, nil
		}
	}
	conn, err := net.Dial("tcp", hub)
	if err != nil {
		a.t.Fatal(err)
	}
	secure, err := a.authority.issue("pprun://job/test/node/1/ranks/"+ranks).Client(conn, "test", place.ProtoNode)
	if err != nil {
		a.t.Fatal(err)
	}
	a.trunk = frame.NewTrunk(secure, len(a.places))
	a.serve.Go(func() { a.trunk.Run(nil) })
	a.t.Cleanup(func() { a.trunk.Close(0) })
}

// carry is a relay, or carries a link over the trunk.
func (a *agent) carry(asker *place.Asker) {
	if a.trunk != nil {
		s, err := a.trunk.Open(a.t.Context())
		if err != nil {
			asker.Refuse(err.Error())
			return
		}
		rank, err := asker.Relay()
		if err != nil {
			a.t.Error(err)
		}
		s.Join(rank)
		return
	}
	hub, err := net.Dial("unix", a.relay)
	if err != nil {
		asker.Refuse(err.Error())
		return
	}
	rank, err := asker.Relay()
	if err != nil {
		a.t.Error(err)
	}
	var back sync.WaitGroup
	back.Go(func() { io.Copy(rank, hub); rank.Close() })
	io.Copy(hub, rank)
	hub.Close()
	back.Wait()
}

// environ is what a rank finds in its environment.
func (a *agent) environ(rank int) []string {
	a.open.Do(func() { a.serve.Go(a.accept) })
	return place.Env{Agent: a.socket.Addr().String(), Rank: rank, Size: len(a.places), Job: "test"}.Environ()
}

// A process is a rank.
type process struct {
	*exec.Cmd
	out, err bytes.Buffer
}

// start starts this test binary as a rank that runs a program.
func (a *agent) start(rank int, program string, env ...string) *process {
	p := &process{Cmd: exec.Command(os.Args[0])}
	p.Env = append(append(os.Environ(), "COMM_TEST_PROGRAM="+program, "GORACE=atexit_sleep_ms=0"), a.environ(rank)...)
	p.Env = append(p.Env, env...)
	p.Stdout, p.Stderr = &p.out, &p.err
	if err := p.Start(); err != nil {
		a.t.Fatal(err)
	}
	return p
}

// exit waits for a process, at most so long.
func (p *process) exit(t testing.TB) int {
	kill := time.AfterFunc(30*time.Second, func() { p.Process.Kill() })
	defer kill.Stop()
	p.Wait()
	return p.ProcessState.ExitCode()
}

// run runs a job of one program on all ranks and returns what each printed; all must end well.
func (a *agent) run(program string) []string {
	var ps []*process
	for rank := range a.places {
		ps = append(ps, a.start(rank, program))
	}
	var outs []string
	for rank, p := range ps {
		if code := p.exit(a.t); code != 0 {
			a.t.Errorf("rank %d: exit status %d, %s", rank, code, &p.err)
		}
		outs = append(outs, p.out.String())
	}
	return outs
}

// An authority signs certificates of a job.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, job string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "job " + job}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

func (a *authority) issue(uri string) *place.Identity {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		a.t.Fatal(err)
	}
	usage := x509.ExtKeyUsageClientAuth
	if strings.HasSuffix(uri, "/hub") {
		usage = x509.ExtKeyUsageServerAuth
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), URIs: []*url.URL{u}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &place.Identity{CA: a.cert.Raw, Cert: der, Key: private, Time: time.Now().Unix()}
}
