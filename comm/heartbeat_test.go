package comm

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// A way is one direction of a link; what is sent while it is cut is lost, and nobody is told.
type way struct {
	net.Conn
	cut *atomic.Bool
}

func (w way) Write(b []byte) (int, error) {
	if w.cut.Load() {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

// A beating is a job whose ranks and hub exchange heartbeats.
type beating struct {
	*Testbed
	up, down []*atomic.Bool // by rank: its link is cut
}

const testTimeout = 15 * time.Second

func beat(t *testing.T, size int) *beating {
	b := &beating{up: make([]*atomic.Bool, size), down: make([]*atomic.Bool, size)}
	for rank := range size {
		b.up[rank], b.down[rank] = new(atomic.Bool), new(atomic.Bool)
	}
	link := func(rank int) (near, far net.Conn) {
		hub, client := net.Pipe()
		return way{hub, b.down[rank]}, way{client, b.up[rank]}
	}
	var err error
	if b.Testbed, err = newTestbed(t.Context(), size, place.Serve, link, []InitOption{Slots(1), heartbeat(testTimeout)}); err != nil {
		t.Fatal(err)
	}
	return b
}

// end closes the job.
func (b *beating) end(t *testing.T) {
	done := make(chan struct{})
	for _, c := range b.comms[1:] {
		go func() { c.Close(); done <- struct{}{} }()
	}
	if err := b.comms[0].Close(); err != nil {
		t.Error(err)
	}
	for range b.comms[1:] {
		<-done
	}
}

// lost returns why the hub has lost a rank, empty if it has not.
func (b *beating) lost(rank int) string {
	h := b.door.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if lost := h.members[rank].lost; lost != nil {
		return lost.Reason
	}
	return ""
}

func TestIdleJobLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := beat(t, 3)
		time.Sleep(time.Hour)
		for rank := 1; rank < 3; rank++ {
			if why := b.lost(rank); why != "" {
				t.Errorf("rank %d is lost: %s", rank, why)
			}
		}
		b.end(t)
	})
}

// TestCutLink cuts links of an idle job, both directions or one, for good or for a while.
func TestCutLink(t *testing.T) {
	for _, c := range []struct {
		name     string
		up, down bool
		heals    time.Duration // 0: never
		lost     bool
	}{
		{"partition", true, true, 0, true},
		{"half open, nothing comes of the rank", true, false, 0, true},
		{"half open, nothing goes to the rank", false, true, 0, true},
		{"a short partition", true, true, 10 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := beat(t, 3)
				time.Sleep(time.Minute)
				b.up[1].Store(c.up)
				b.down[1].Store(c.down)
				if c.heals > 0 {
					time.Sleep(c.heals)
					b.up[1].Store(false)
					b.down[1].Store(false)
				}
				time.Sleep(testTimeout - 3*time.Second - c.heals) // a beat may have come just before
				if why := b.lost(1); why != "" {
					t.Errorf("lost too soon: %s", why)
				}
				time.Sleep(5 * time.Second) // one end gives up, and by that the other
				why := b.lost(1)
				if (why != "") != c.lost {
					t.Errorf("lost: %q, want %v", why, c.lost)
				}
				if c.up && !c.down && !strings.Contains(why, "nothing was heard of it for 15s") {
					t.Errorf("lost: %q", why)
				}
				select {
				case <-b.comms[1].broken:
					if !c.lost {
						t.Errorf("rank 1: %v", b.comms[1].err)
					}
				default:
					if c.lost {
						t.Error("rank 1 believes in its link")
					}
				}
				if why := b.lost(2); why != "" {
					t.Errorf("rank 2 is lost: %s", why)
				}
				b.up[1].Store(false)
				b.down[1].Store(false)
				b.end(t)
			})
		})
	}
}

// TestHubGone has the hub fall silent: the ranks give it up.
func TestHubGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := beat(t, 3)
		for rank := 1; rank < 3; rank++ {
			b.down[rank].Store(true)
		}
		time.Sleep(testTimeout + 2*time.Second)
		for rank := 1; rank < 3; rank++ {
			select {
			case <-b.comms[rank].broken:
				if err := b.comms[rank].err; !strings.Contains(err.Error(), "nothing was heard of it for 15s") {
					t.Errorf("rank %d: %v", rank, err)
				}
			default:
				t.Errorf("rank %d believes in its link", rank)
			}
		}
		b.end(t)
	})
}

func heartbeat(d time.Duration) InitOption { return func(s *settings) { s.heartbeat = d } }
