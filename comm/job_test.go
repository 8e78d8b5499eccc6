package comm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/place"
)

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
	programs["mourns"] = func() {
		slots := 1
		if os.Getenv("PPRUN_RANK") == "0" {
			slots = 0
		}
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			_, err := leaves.Call(ctx, 3)
			lost, ok := errors.AsType[*comm.LostError](err)
			if !ok {
				return fmt.Errorf("not lost: %w", err)
			}
			fmt.Printf("%v; %d %q %v %q\n", err, lost.Exit, lost.Signal, lost.OOM, lost.Stderr)
			return nil
		}, comm.Slots(slots))
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

var leaves = comm.Register("leaves", func(ctx context.Context, status int) (int, error) {
	file := os.Getenv("STAYS")
	if file == "" {
		os.Exit(status)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return 0, err
	}
	<-ctx.Done()
	return 0, ctx.Err()
})

// rankZero waits until all have asked for their places and returns the agent's end for rank 0.
func (a *agent) rankZero() (zero *place.Asker) {
	for range a.places {
		if asker := <-a.asked; asker.Ask.Rank == 0 {
			zero = asker
		}
	}
	return zero
}

// What pprun knows of a rank's end is in the error of a task that only this rank could run.
func TestDeathIsTold(t *testing.T) {
	a := newAgent(t, 2, "unix")
	p, q := a.start(0, "mourns"), a.start(1, "mourns")
	zero := a.rankZero()
	q.exit(t)
	zero.Tell(place.Death{Rank: 1, Reason: "killed by signal 9 (SIGKILL)", Exit: -1, Signal: "SIGKILL", OOM: true, Stderr: []byte("oops\n"), Final: true})
	const want = `comm: rank 1 (n1) is lost: killed by signal 9 (SIGKILL); no rank is left that may run the task; -1 "SIGKILL" true "oops\n"`
	if code := p.exit(t); code != 0 || p.out.String() != want+"\n" {
		t.Errorf("exit %d, %q, %q, want %q", code, &p.out, &p.err, want)
	}
}

// A rank that dies for good while others still join ends the start.
func TestDeathBeforeTheStart(t *testing.T) {
	a := newAgent(t, 3, "unix")
	p := a.start(0, "mourns")
	zero := <-a.asked
	zero.Tell(place.Death{Rank: 2, Reason: "exit status 7"})
	zero.Tell(place.Death{Rank: 2, Incarnation: 1, Reason: "exit status 8", Final: true})
	const want = "pprun: rank 0: comm: rank 2 (n2) is lost before all had joined: exit status 8\n"
	if code := p.exit(t); code != 1 || p.err.String() != want {
		t.Errorf("exit %d, %q, %q, want %q", code, &p.out, &p.err, want)
	}
}

// A link that seems alive though its rank is dead, as that of a node without power, counts no longer.
func TestDeathEndsALink(t *testing.T) {
	a := newAgent(t, 2, "unix")
	begun := filepath.Join(t.TempDir(), "begun")
	p, q := a.start(0, "mourns"), a.start(1, "mourns", "STAYS="+begun)
	zero := a.rankZero()
	if err := await(begun); err != nil {
		t.Fatal(err)
	}
	zero.Tell(place.Death{Rank: 1, Reason: "lost n1: its agent is silent for 15s", Exit: -1, Final: true})
	const want = `comm: rank 1 (n1) is lost: lost n1: its agent is silent for 15s; no rank is left that may run the task; -1 "" false ""`
	if code := p.exit(t); code != 0 || p.out.String() != want+"\n" {
		t.Errorf("exit %d, %q, %q, want %q", code, &p.out, &p.err, want)
	}
	q.exit(t)
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
	if q.exit(t); !strings.Contains(q.out.String(), want) {
		t.Errorf("rank 2 says %q, %q, want %q", &q.out, &q.err, want)
	}
	a = newAgent(t, 2, "unix")
	p = a.start(1, "joins") // rank 0 never comes, and nobody else can tell who is missing
	want = "comm: rank 1 cannot join: rank 0 (n0) says no welcome; have all ranks called Init? no answer within 300ms\n"
	if p.exit(t); p.out.String() != want {
		t.Errorf("rank 1 says %q, %q, want %q", &p.out, &p.err, want)
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
	if p.err.Len()+q.err.Len() > 0 {
		t.Errorf("what Init returns is told once more: %q %q", &p.err, &q.err)
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
