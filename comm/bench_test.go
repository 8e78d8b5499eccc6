package comm_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pprun/pprun/comm"
)

// The benchmarks run a function that does next to nothing on two processes beside this one, which runs none:
//
//	go test -run '^$' -bench 'Tasks|NetRPC' ./comm
//
// Call is one task after another, Map and Gather have many under way. NetRPC is the same with the standard library.

func init() {
	programs["bench"] = func() {
		comm.Main(func(context.Context, *comm.Comm) error { return nil })
	}
	programs["netrpc"] = serveRPC
}

// farm makes this process rank 0 of a job with two others, which alone serve tasks.
func farm(b *testing.B, network string) (context.Context, *comm.Comm) {
	a := newAgent(b, 3, network)
	for rank := 1; rank < 3; rank++ {
		p := a.start(rank, "bench", "GOMAXPROCS=1")
		b.Cleanup(func() {
			if code := p.exit(b); code != 0 {
				b.Errorf("a rank: exit status %d, %s", code, &p.err)
			}
		})
	}
	for _, v := range a.environ(0) {
		name, value, _ := strings.Cut(v, "=")
		b.Setenv(name, value)
	}
	c, err := comm.Init(b.Context(), comm.Slots(0))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return comm.NewContext(context.Background(), c), c
}

func BenchmarkTasks(b *testing.B) {
	for _, network := range []string{"unix", "tcp"} {
		b.Run(network, func(b *testing.B) {
			ctx, _ := farm(b, network)
			b.Run("Call", func(b *testing.B) {
				for i := range b.N {
					if r, err := double.Call(ctx, i); err != nil || r != 2*i {
						b.Fatal(r, err)
					}
				}
				rate(b)
			})
			b.Run("Map", func(b *testing.B) {
				i := 0
				for r, err := range double.Map(ctx, upTo(b.N)) {
					if err != nil || r != 2*i {
						b.Fatal(r, err)
					}
					i++
				}
				rate(b)
			})
			b.Run("Gather", func(b *testing.B) {
				for done := 0; done < b.N; {
					fs := make([]*comm.Future[int], min(b.N-done, 500_000))
					for i := range fs {
						fs[i] = double.Submit(ctx, i)
					}
					rs, err := comm.Gather(ctx, fs...)
					if err != nil || rs[len(rs)-1] != 2*(len(rs)-1) {
						b.Fatal(err)
					}
					done += len(fs)
				}
				rate(b)
			})
		})
	}
}

func BenchmarkSingleton(b *testing.B) {
	comms, err := comm.World(b.Context(), 1)
	if err != nil {
		b.Fatal(err)
	}
	defer comms[0].Close()
	ctx := comm.NewContext(context.Background(), comms[0])
	b.Run("Call", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if r, err := double.Call(ctx, i); err != nil || r != 2*i {
				b.Fatal(r, err)
			}
		}
	})
	b.Run("Map", func(b *testing.B) {
		b.ReportAllocs()
		for _, err := range double.Map(ctx, upTo(b.N)) {
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func upTo(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func rate(b *testing.B) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s") }

// Doubler is what the net/rpc workers serve.
type Doubler struct{}

func (Doubler) Double(n int, r *int) error { *r = 2 * n; return nil }

func serveRPC() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	s := rpc.NewServer()
	if err := s.Register(Doubler{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	conn, err := l.Accept()
	if err == nil {
		s.ServeConn(conn)
	}
}

func BenchmarkNetRPC(b *testing.B) {
	var clients []*rpc.Client
	for range 2 {
		worker := exec.Command(os.Args[0])
		worker.Env = append(os.Environ(), "COMM_TEST_PROGRAM=netrpc", "GOMAXPROCS=1")
		out, err := worker.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := worker.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { worker.Wait() })
		addr, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			b.Fatal(err)
		}
		c, err := rpc.Dial("tcp", strings.TrimSpace(addr))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		clients = append(clients, c)
	}
	b.Run("Call", func(b *testing.B) {
		for i := range b.N {
			var r int
			if err := clients[i%2].Call("Doubler.Double", i, &r); err != nil {
				b.Fatal(err)
			}
		}
		rate(b)
	})
	b.Run("Window", func(b *testing.B) { // 64 under way on each worker, as its best
		window := make(chan *rpc.Call, 128)
		for i := range b.N {
			if i >= 128 {
				if call := <-window; call.Error != nil {
					b.Fatal(call.Error)
				}
			}
			clients[i%2].Go("Doubler.Double", i, new(int), window)
		}
		for range min(b.N, 128) {
			<-window
		}
		rate(b)
	})
}
