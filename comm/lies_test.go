package comm_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
)

var (
	told    = make(chan struct{})
	tell    sync.Once
	lieNow  = comm.Register("lie_now", func(context.Context, int) (int, error) { tell.Do(func() { close(told) }); return 0, nil })
	numbers = slices.Repeat([]int{1, 2, 3}, 100)
)

func init() {
	programs["liar"] = func() {
		if err := comm.Lie(context.Background(), os.Getenv("LIE"), told); err != nil {
			fmt.Println(err)
		}
	}
	programs["lied to"] = func() {
		comm.Main(func(ctx context.Context, c *comm.Comm) error {
			go lieNow.OnAll(ctx, 0) // the liar may not live to answer
			for end := time.Now().Add(20 * time.Second); ; {
				sum := 0
				for n, err := range double.Map(ctx, slices.Values(numbers)) {
					if err != nil {
						return err
					}
					sum += n
				}
				if os.Getenv("CUT") == "" || c.Slots() == 3 || time.Now().After(end) {
					fmt.Println(sum, c.Slots())
					return nil
				}
			}
		})
	}
}

// TestLies has a rank say to the hub what it must not, with a good certificate: it is refused or dropped, and the others'
// job ends well.
func TestLies(t *testing.T) {
	for i, lie := range comm.LateLies {
		t.Run(lie.Name, func(t *testing.T) {
			t.Parallel()
			a := newAgent(t, 4, "tcp")
			cut, want := "", "1200 4\n"
			if lie.Cut {
				cut, want = "CUT=1", "1200 3\n"
			}
			var ps []*process
			for rank, program := range []string{"lied to", "lied to", "liar", "lied to"} {
				ps = append(ps, a.start(rank, program, cut, "LIE="+lie.Name))
			}
			for rank, p := range ps {
				if code := p.exit(t); code != 0 && rank != 2 {
					t.Errorf("rank %d: exit status %d, %s", rank, code, &p.err)
				}
			}
			if got := ps[0].out.String(); got != want {
				t.Errorf("rank 0 prints %q, want %q", got, want)
			}
			if i > 0 { // they are the same for all
				return
			}
			for _, early := range comm.EarlyLies {
				if want := early.Name + ": " + early.Want; !strings.Contains(ps[2].out.String(), want+"<nil>\n") && !(early.Want == "" && strings.Contains(ps[2].out.String(), want+"EOF\n")) {
					t.Errorf("the liar hears %q, want %q", &ps[2].out, want)
				}
			}
			if n := strings.Count(ps[0].err.String(), "the hub turns away "); n != 10 {
				t.Errorf("rank 0 tells of %d refusals, want 10: %s", n, &ps[0].err)
			}
		})
	}
}
