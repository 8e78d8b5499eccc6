package comm_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/place"
)

// An agent is what stands in for pprun on one node: it starts this test binary as ranks and hands out their places.
type agent struct {
	t      testing.TB
	socket *net.UnixListener
	places []place.Place
	files  []*os.File // the hub's listeners

	asked chan *place.Asker // who has got a place
	ended chan ending
	open  sync.Once // at the first start, until when places may be changed
	serve sync.WaitGroup
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
	a := &agent{t: t, asked: make(chan *place.Asker, size+1), ended: make(chan ending, size+1)}
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
		file.Close()
		for len(a.asked) > 0 {
			(<-a.asked).Close()
		}
		a.serve.Wait()
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
		p := a.places[asker.Ask.Rank]
		var files []*os.File
		if len(p.Listeners) > 0 {
			files = a.files
		}
		if err := asker.Give(p, files); err != nil {
			a.t.Errorf("give rank %d its place: %v", p.Rank, err)
		}
		a.asked <- asker
		a.serve.Go(func() { a.ended <- ending{p.Rank, asker.Ask.Role, asker.Wait()} })
	}
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

func init() {
	programs["farm"] = func() {
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			sum := 0
			for r, err := range double.Map(ctx, slices.Values([]int{1, 2, 3, 4, 5})) {
				if err != nil {
					return err
				}
				sum += r
			}
			ranks, err := whoami.OnAll(ctx, struct{}{})
			fmt.Println(sum, ranks, c.Slots(), len(c.Nodes()))
			return err
		})
	}
	programs["fails"] = func() {
		comm.Main(func(ctx context.Context, c *comm.Comm) error { return errors.New("it is broken") })
	}
	programs["spmd"] = func() {
		ctx := context.Background()
		c, err := comm.Init(ctx)
		if err == nil {
			err = ring(ctx, c)
		}
		if err == nil {
			err = c.Close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	programs["waits"] = func() {
		ctx := context.Background()
		c, err := comm.Init(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		if c.Rank() == 2 {
			os.Exit(5)
		}
		_, err = c.RecvMessage(ctx, 1, 1)
		fmt.Println(err)
		c.Close()
	}
	programs["joins"] = func() {
		_, err := comm.Init(context.Background(), comm.JoinTimeout(300*time.Millisecond))
		fmt.Println(err)
	}
	programs["other"] = func() {
		if os.Getenv("PPRUN_RANK") == "1" {
			comm.Register("zzz_other", func(context.Context, []float64) (int, error) { return 0, nil })
		} else {
			comm.Register("zzz_other", func(context.Context, []int) (int, error) { return 0, nil })
		}
		_, err := comm.Init(context.Background())
		fmt.Println(err)
	}
}

func ring(ctx context.Context, c *comm.Comm) error {
	next, last := (c.Rank()+1)%c.Size(), (c.Rank()+c.Size()-1)%c.Size()
	if err := c.SendMessage(ctx, next, 1, []byte{byte(c.Rank())}); err != nil {
		return err
	}
	b, err := c.RecvMessage(ctx, last, 1)
	if err != nil {
		return err
	}
	n, err := double.Call(ctx, int(b[0]))
	fmt.Println(c.Rank(), n)
	return err
}

func TestJob(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			a := newAgent(t, 3, network)
			if out := a.run("farm"); out[0] != "30 [0 1 2] 3 3\n" || out[1]+out[2] != "" {
				t.Errorf("got %q", out)
			}
			for range a.places {
				if e := <-a.ended; !e.bye || (e.role == place.Serve) != (e.rank > 0) {
					t.Errorf("a rank left as %+v", e)
				}
			}
			a = newAgent(t, 4, network)
			if out := strings.Join(a.run("spmd"), ""); out != "0 6\n1 0\n2 2\n3 4\n" {
				t.Errorf("got %q", out)
			}
		})
	}
}

func TestMainFails(t *testing.T) {
	a := newAgent(t, 1, "unix")
	p := a.start(0, "fails")
	if code := p.exit(t); code != 1 || p.err.String() != "rank 0: it is broken\n" {
		t.Errorf("exit %d, %q", code, &p.err)
	}
}

func TestLostRank(t *testing.T) {
	a := newAgent(t, 3, "unix")
	var ps []*process
	for rank := range 3 {
		ps = append(ps, a.start(rank, "waits"))
	}
	for rank, p := range ps {
		if code := p.exit(t); rank == 2 && code != 5 || rank < 2 && (code != 0 || !strings.Contains(p.out.String(), "rank 2 (n2) is lost: it ended")) {
			t.Errorf("rank %d: exit %d, %q, %q", rank, code, &p.out, &p.err)
		}
	}
}

func TestLostAgent(t *testing.T) {
	a := newAgent(t, 2, "unix")
	p := a.start(1, "waits") // rank 0 never comes: nobody answers at the hub's socket
	(<-a.asked).Close()
	if code := p.exit(t); code != 1 || p.err.String() != "pprun: rank 1: its agent is gone\n" {
		t.Errorf("exit %d, %q", code, &p.err)
	}
}

func TestJoinTimeout(t *testing.T) {
	a := newAgent(t, 3, "unix")
	p, q := a.start(0, "joins"), a.start(2, "joins", "X=1")
	want := "rank 1 (n1) did not join: no answer within 300ms"
	if p.exit(t); !strings.Contains(p.out.String(), want) {
		t.Errorf("rank 0 says %q, %q, want %q", &p.out, &p.err, want)
	}
	if q.exit(t); !strings.Contains(q.out.String(), "join") {
		t.Errorf("rank 2 says %q, %q", &q.out, &q.err)
	}
}

func TestOtherProgram(t *testing.T) {
	a := newAgent(t, 2, "unix")
	p, q := a.start(0, "other"), a.start(1, "other")
	const want = `its "zzz_other" takes []float64, that of rank 0 takes []int`
	if p.exit(t); !strings.Contains(p.out.String(), "rank 1 (n1) is another program than rank 0: "+want) {
		t.Errorf("rank 0 says %q %q", &p.out, &p.err)
	}
	if q.exit(t); !strings.Contains(q.out.String(), want) {
		t.Errorf("rank 1 says %q %q", &q.out, &q.err)
	}
}

// TestBusySlots holds every slot of rank 0 with a function that computes: links are served all the same.
func TestBusySlots(t *testing.T) {
	a := newAgent(t, 2, "unix")
	if out := a.run("busy"); out[0] != "served\n" {
		t.Errorf("got %q", out)
	}
}

var (
	spinning = make(chan struct{}, 1)
	spin     = comm.Register("spin", func(ctx context.Context, _ int) (int, error) {
		spinning <- struct{}{}
		for ctx.Err() == nil {
		}
		return 0, nil
	})
)

func init() {
	programs["busy"] = func() {
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			f := spin.Submit(ctx, 0) // an idle rank 0 comes first
			<-spinning
			for i := range 100 {
				if _, err := double.Call(ctx, i); err != nil { // on rank 1
					return err
				}
			}
			f.Cancel()
			fmt.Println("served")
			return nil
		})
	}
}
