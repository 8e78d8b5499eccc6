package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
)

// labor takes its time on a processor.
var labor = comm.Register("labor", func(ctx context.Context, took time.Duration) (int, error) {
	for end := time.Now().Add(took); time.Now().Before(end); {
	}
	return 0, nil
})

// beSteady is a job that does the same work whenever it is told to, and prints how many microseconds that took.
func beSteady() {
	comm.Main(func(ctx context.Context, c *comm.Comm) error {
		tasks, err := strconv.Atoi(os.Args[2])
		if err != nil {
			return err
		}
		fmt.Println("0")
		for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
			began := time.Now()
			if orders.Text() == "join" {
				_, err = labor.With(comm.OnRanks(1)).Call(ctx, 0)
			} else {
				for _, err = range labor.Map(ctx, slices.Values(slices.Repeat([]time.Duration{100 * time.Microsecond}, tasks))) {
					if err != nil {
						break
					}
				}
			}
			if err != nil {
				return err
			}
			fmt.Println(time.Since(began).Microseconds())
		}
		return nil
	}, comm.Slots(1))
}

// steady is such a job that runs.
type steady struct {
	t      *testing.T
	cmd    *exec.Cmd
	orders io.WriteCloser
	times  *bufio.Reader
	stderr said
}

// steady starts the job with these arguments of pprun, and waits until all ranks are in.
func (l lab) steady(host string, args ...string) *steady {
	l.t.Helper()
	tasks := "2000"
	if longLoad {
		tasks = "40000"
	}
	j := &steady{t: l.t, cmd: l.Exec(host, l.pprun, slices.Concat(args, []string{l.pprun, "steady", tasks})...)}
	j.cmd.Stderr = &j.stderr
	var err error
	if j.orders, err = j.cmd.StdinPipe(); err != nil {
		l.t.Fatal(err)
	}
	stdout, err := j.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	j.times = bufio.NewReader(stdout)
	if err := j.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	j.time()
	return j
}

// obey gives an order, and returns how long it took.
func (j *steady) obey(order string) time.Duration {
	j.t.Helper()
	fmt.Fprintln(j.orders, order)
	return j.time()
}

func (j *steady) time() time.Duration {
	j.t.Helper()
	line, err := j.times.ReadString('\n')
	us, nerr := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || nerr != nil {
		j.cmd.Wait()
		j.t.Fatalf("the job prints %q: %v: %s", line, err, &j.stderr)
	}
	return time.Duration(us) * time.Microsecond
}

// end ends the job, which must have worked.
func (j *steady) end() {
	j.t.Helper()
	j.orders.Close()
	if err := j.cmd.Wait(); err != nil {
		j.t.Errorf("the job: %v: %s", err, &j.stderr)
	}
}

// longLoad asks for the load that takes minutes: .ci/run long.
var longLoad = os.Getenv("LOAD") == "long"

// flooded floods an address of node1 while a job works that has a rank there. come has another come in through the flood,
// and says how long it took. node1 does not grow, and in the long load gets a gigabyte of junk.
func (l lab) flooded(j *steady, address string, come func() time.Duration) {
	conns, rounds, junk := 320, 1, int64(0)
	if longLoad {
		conns, rounds, junk = 10_000, 6, 1<<30
	}
	small, before, got := l.resident("node1"), l.received("node1"), int64(0)
	var came []time.Duration
	var times []float64
	for round := range rounds {
		quiet := j.obey("work")
		f := l.flood(address, conns)
		for enough := false; !enough; enough = got >= junk*int64(round+1)/int64(rounds) {
			times = append(times, float64(j.obey("work"))/float64(quiet))
			got = l.received("node1") - before
		}
		came = append(came, come())
		said := f.end()
		l.t.Log(said)
		if !strings.HasSuffix(said, " 0 left open") {
			l.t.Errorf("the flood says %q, want every connection closed", said)
		}
	}
	slices.Sort(times)
	grown := l.resident("node1") - small
	l.t.Logf("the same work takes %.2f times as long when flooded (median of %.2f); %d MB received; another is in after %v; node1 grew by %d kB",
		times[len(times)/2], times, got>>20, came, grown)
	if grown > 50_000 {
		l.t.Errorf("the largest process of node1 grew by %d kB, want at most 50 MB", grown)
	}
}

// received is how many bytes have come to a host's network card.
func (l lab) received(host string) (n int64) {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(l.Root(host), "proc/1/net/dev"))
	if err != nil {
		l.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "eth0:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		l.t.Fatalf("network cards of %s: %v\n%s", host, err, b)
	}
	return n
}

// attack is a flood that goes on.
type attack struct {
	t      *testing.T
	cmd    *exec.Cmd
	stop   io.Closer
	stdout *bufio.Reader
}

// flood keeps so many connections to an address busy, as nobody. What it takes of the processors, which hosts of the lab
// share, it takes of those that nobody else wants.
func (l lab) flood(address string, conns int) *attack {
	l.t.Helper()
	f := &attack{t: l.t, cmd: l.Exec("head", "nice", "-n", "19", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs",
		l.pprun, "attacker", "flood", address, strconv.Itoa(conns))}
	stdin, err := f.cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	stdout, err := f.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	f.stop, f.stdout = stdin, bufio.NewReader(stdout)
	var stderr bytes.Buffer
	f.cmd.Stderr = &stderr
	if err := f.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	if line, err := f.stdout.ReadString('\n'); err != nil {
		l.t.Fatalf("the flood says %q: %v: %s", line, err, &stderr)
	}
	return f
}

// end ends the flood, and returns what it says.
func (f *attack) end() string {
	f.t.Helper()
	f.stop.Close()
	line, err := f.stdout.ReadString('\n')
	f.cmd.Wait()
	if err != nil {
		f.t.Fatalf("the flood ends with %q: %v", line, err)
	}
	return strings.TrimSpace(line)
}

// flooding is the flood: connections that say nothing, talk nonsense, or say a hello byte by byte, each until the hub ends
// it, and again. It says when every second one has been made, and ends with its input.
func flooding(args []string) string {
	n, _ := strconv.Atoi(args[1])
	var made, left, bytes atomic.Int64
	var conns sync.WaitGroup
	junk := make([]byte, 4<<20)
	rand.Read(junk)
	begun, stop := make(chan struct{}), make(chan struct{})
	for i := range n {
		conns.Go(func() {
			for {
				k, closed := pester(args[0], i, junk)
				bytes.Add(k)
				if !closed {
					left.Add(1)
				}
				if made.Add(1) == int64(n/2) {
					close(begun)
				}
				select {
				case <-time.After(5 * time.Second):
				case <-stop:
					return
				}
			}
		})
	}
	<-begun
	fmt.Println("begun")
	io.Copy(io.Discard, os.Stdin)
	close(stop)
	conns.Wait()
	return fmt.Sprintf("%d connections, %d MB written, %d left open", made.Load(), bytes.Load()>>20, left.Load())
}

// pester makes one connection, and says how many bytes it has written, and whether the other end has closed it.
func pester(address string, i int, junk []byte) (written int64, closed bool) {
	c, err := net.DialTimeout("tcp", address, 30*time.Second)
	if err != nil {
		return 0, true
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(60 * time.Second)) // the hub's patience is 5 s
	var n int
	switch {
	case i%4 == 0:
		n, err = c.Write(junk)
	case i%20 == 1:
		for n = 0; err == nil && n < 1024; n++ {
			_, err = c.Write([]byte{22, 3, 1, 4, 0}[min(n, 4):][:1]) // the head of a TLS record, and zeros
			time.Sleep(100 * time.Millisecond)                       // as slow as the attack is
		}
	}
	if err == nil {
		_, err = io.Copy(io.Discard, c)
	}
	e, ok := err.(net.Error)
	return int64(n), !ok || !e.Timeout()
}
