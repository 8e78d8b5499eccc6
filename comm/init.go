package comm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// An InitOption changes what Init and Main do.
type InitOption func(*settings)

type settings struct {
	slots              int // of this rank; -1: as the launcher has it
	maxTasks, maxBytes int
	maxUnread          int
	joinTimeout        time.Duration
	heartbeat          time.Duration // of a Testbed; 0: none
	via                []Launcher
}

func newSettings(opts []InitOption) settings {
	s := settings{slots: -1, maxTasks: 1_000_000, maxBytes: 1 << 30, maxUnread: 1 << 30, joinTimeout: 2 * time.Minute}
	for _, opt := range opts {
		opt(&s)
	}
	return s
}

// Slots sets how many tasks this rank runs at once, in place of its share of the node's CPUs. With 0 it runs none
// but those of OnAll. Give each rank its own, for instance by os.Getenv("PPRUN_RANK").
func Slots(n int) InitOption { return func(s *settings) { s.slots = max(0, n) } }

// Limits sets how many tasks, and how many bytes of their arguments, may wait before Submit blocks: 1,000,000 and 1 GiB
// by default.
func Limits(tasks, bytes int) InitOption {
	return func(s *settings) { s.maxTasks, s.maxBytes = max(1, tasks), max(1, bytes) }
}

// MaxUnread sets how many bytes of messages may have arrived and wait to be received, each counting 64 more than it
// has; beyond it the job fails, unless it is one message alone. The default is 1 GiB.
func MaxUnread(bytes int) InitOption { return func(s *settings) { s.maxUnread = bytes } }

// JoinTimeout sets how long Init waits for the other ranks: 2 minutes by default.
func JoinTimeout(d time.Duration) InitOption { return func(s *settings) { s.joinTimeout = d } }

// Init joins the ranks of the job. Every rank calls it, and goes on when all have. From then on each serves tasks in the
// background, until all have called Close. Without a launcher it returns rank 0 of 1, whose tasks run on GOMAXPROCS
// goroutines, or starts the others (see Via). Init fails, naming them, if some ranks are not in when ctx ends or
// JoinTimeout is over; a process calls it once.
func Init(ctx context.Context, opts ...InitOption) (*Comm, error) {
	where, s := caller(1), newSettings(opts)
	if len(s.via) > 0 && aboveZero() {
		os.Exit(serve(where, s))
	}
	return initRank(ctx, place.SPMD, where, s)
}

// aboveZero says whether this process is a rank above 0.
func aboveZero() bool {
	env, ok, err := place.FromEnviron()
	return ok && err == nil && env.Rank > 0
}

func initRank(ctx context.Context, role place.Role, where string, s settings) (*Comm, error) {
	if InTask(ctx) {
		return nil, errors.New("comm: Init in a task: FromContext has its Comm")
	}
	if own.Load() != nil {
		return nil, errors.New("comm: Init was called before in this process")
	}
	fns := registered.freeze(where)
	link, job, err := take(ctx, role, &s)
	if errors.Is(err, place.ErrNoAgent) {
		c, err := newSingleton(s, fns)
		if err == nil {
			own.Store(c)
		}
		return c, err
	}
	if err != nil {
		return nil, errorf("%w", err)
	}
	explainBy(func() string {
		return fmt.Sprintf("rank %d waits in Init for rank 0 to let it in, which waits for all ranks to call Init or Main", link.Place.Rank)
	})
	wait := s.joinTimeout
	if link.Place.Rank > 0 {
		wait += min(wait, headStart)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("no answer within %v", s.joinTimeout))
	defer cancel()
	ctx, stop := heed(ctx, job)
	defer stop()
	c, err := join(ctx, link, job, role, s, fns)
	if errors.Is(err, errOver) {
		link.Bye()
		return nil, err
	}
	if err != nil {
		if link.Place.Rank > 0 {
			time.Sleep(patience)
		}
		link.Close()
		return nil, failed(job, err)
	}
	if job != nil {
		go c.attend()
	}
	explainBy(c.explainQuit)
	own.Store(c)
	return c, nil
}

// headStart is how much earlier than the others rank 0 gives up: it alone can say who is missing.
const headStart = 5 * time.Second

// newSingleton makes rank 0 of 1.
func newSingleton(s settings, fns []*function) (*Comm, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	p := place.Place{
		Job: fmt.Sprintf("single-%08x", rand.Uint32()), Size: 1, Nodes: []string{host}, NodeOf: []int{0},
		Slots: []int{runtime.GOMAXPROCS(0)},
	}
	if s.slots == 0 {
		return nil, errors.New("comm: Slots(0) in a job of one rank: nobody would run a task")
	}
	c := newComm(p, place.SPMD, s, fns)
	h := newHub(c)
	c.connect(h)
	c.cleanup = func(error) {}
	return c, nil
}

// connect joins rank 0 and its hub.
func (c *Comm) connect(h *hub) {
	c.up = hubPort{h}
	h.members[0].port = rankPort{c}
	h.open()
}
