package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// Config is what an agent knows before the launcher speaks.
type Config struct {
	Stdin  *os.File // what StdinInherit gives to a rank; nil: nothing
	Stdout *os.File // the launcher's own, for Start.Direct; nil: there is none
	Remote bool     // the launcher came over the network: Ready says which executable this is and how it was reached

	Reached   string        // address by which the launcher reached this node; empty: SSH_CONNECTION has it
	Grace     time.Duration // at most, between TERM and KILL when the launcher is lost; 0: as Hello has it
	Heartbeat time.Duration // at most, for which the launcher may be silent; 0: as Hello has it
	Quotas    Quotas        // of a client
	Ledger    *os.File      // where the ppserver reads entries; nil: there is none
}

// agent is one conversation with a launcher. The goroutine of Serve reads frames and owns what no comment gives to
// another.
type agent struct {
	cfg     Config
	conn    *Conn
	hello   Hello
	host    string // for messages
	key     ed25519.PrivateKey
	stages  map[uint64]*staging
	uploads atomic.Int64 // bytes of them

	heartbeat atomic.Int64 // Hello.Heartbeat
	suspended atomic.Bool

	life    context.Context // ends when the launcher is lost
	die     context.CancelFunc
	lose    sync.Once
	cause   error          // why the launcher is lost; read after conn.Next has failed
	work    sync.WaitGroup // every goroutine that may still send
	credit  *window
	outlet  atomic.Pointer[outlet] // nil: output travels in frames
	reaper  *reaper
	ender   *ender
	dirs    dirs
	guard   *guard
	group   *group // of the ranks; nil: there is none
	hub     hub
	seating seating
	relays  *frame.Mux
	trunk   *trunk
	ledger  ledger
	oom     *oomCounter

	leaving   bool          // the launcher has said bye
	held      chan struct{} // closed at go; nil: nothing waits for it
	started   chan struct{} // closed when Started or a Failure has been sent
	planned   *plan         // what ranks are started with, nil if that failed; read after started
	bulletin  *bulletin
	hubHalted atomic.Bool   // rank 0 is stopped
	look      chan struct{} // has room for one: a rank may have been stopped

	mu    sync.Mutex
	ranks map[int]*rank // in their present incarnations; guarded by mu, but for whether it is nil: no start has come
}

// Serve is the agent: it answers the launcher at the other end of rwc, which it closes in the end. It returns nil after a
// bye, when nothing of the job is left on the node. When ctx ends, the stream ends or breaks the protocol, or the
// launcher is silent too long, Serve ends the ranks, cleans up just so, and returns the reason.
//
// Serve takes over the children of this process, orphaned grandchildren too, so a process serves once.
func Serve(ctx context.Context, rwc io.ReadWriteCloser, cfg Config) error {
	a := &agent{
		cfg: cfg, conn: NewConn(rwc), stages: map[uint64]*staging{},
		credit: newWindow(OutputWindow), started: make(chan struct{}), bulletin: newBulletin(), look: make(chan struct{}, 1),
	}
	a.ledger.file = cfg.Ledger
	a.relays, a.trunk = newRelays(a.conn), newTrunk()
	a.life, a.die = context.WithCancel(context.Background())
	a.reaper = newReaper()
	a.ender = newEnder(a)
	adoptOrphans()
	defer context.AfterFunc(ctx, func() { a.heed(context.Cause(ctx)) })()
	stop := make(chan struct{})
	var clock sync.WaitGroup
	clock.Go(func() { a.clock(stop) })
	defer a.limitTime()()

	err := a.read()
	if err != nil {
		a.lost(err)
		err = a.cause
	}
	var last sync.WaitGroup
	if err == nil { // the launcher may still hasten the end, or be lost
		a.leaving = true
		last.Go(func() {
			if err := a.read(); err != nil {
				a.lost(err)
				a.ender.end(a.hello.Grace) // of what runs still, if anything does
			}
		})
	}
	done := a.finish(err != nil)
	if err == nil {
		err = a.conn.SendValue(frame.Header{Kind: KindDone}, done)
	}
	close(stop)
	a.conn.Close()
	last.Wait()
	clock.Wait()
	return err
}

// errNoJob is returned by Serve when the launcher has gone before it started anything, or was rank 0 itself: it will have
// said why, or have been seen to end.
var errNoJob = errors.New("the launcher is gone")

// heed obeys an order to end that came to this process. Who gives it to all processes of a job at once, as Slurm does when
// the time is over, gives it to the launcher too, which then ends the ranks in order and hears what they have still to say.
func (a *agent) heed(order error) {
	select {
	case <-a.ender.first:
	case <-a.life.Done():
	case <-time.After(patience):
		a.lost(order)
	}
}

// lost ends the conversation: whoever reads, sends or waits for credit returns.
func (a *agent) lost(cause error) {
	a.lose.Do(func() {
		a.cause = cause
		a.conn.Close()
		a.relays.Abandon()
		a.trunk.end(0)
		a.credit.close()
		a.die()
		a.outlet.Load().close()
	})
}

// afterBye are the kinds that still make sense when the launcher has said bye.
var afterBye = []frame.Kind{KindKill, KindSignal, KindSuspend, KindResume, KindOutputCredit, KindBeat,
	KindRelayOpen, KindRelayBytes, KindRelayCredit, KindRelayClose} // which may have been on their way

// read handles frames until bye.
func (a *agent) read() error {
	for {
		h, payload, err := a.conn.Next()
		if errors.Is(err, syscall.ECONNRESET) { // it ended with something of ours unread
			err = io.EOF
		}
		if err == io.EOF && (a.ranks == nil || a.attached()) {
			return errNoJob
		}
		if err == io.EOF {
			return errors.New("the launcher is gone: its ranks here are ended")
		}
		if err != nil {
			return fmt.Errorf("connection to the launcher: %w", err)
		}
		if h.Kind == KindBye {
			return nil
		}
		if a.leaving && !slices.Contains(afterBye, h.Kind) {
			return fmt.Errorf("frame of kind %d after bye", h.Kind)
		}
		if (h.Kind == KindHello) == (a.hello.Version != 0) && h.Kind != KindBeat {
			return fmt.Errorf("frame of kind %d where hello belongs", h.Kind)
		}
		if err := a.handle(h, payload); err != nil {
			return err
		}
	}
}

// handle does what a frame asks. An error ends the conversation: the launcher broke the protocol.
func (a *agent) handle(h frame.Header, payload []byte) error {
	switch h.Kind {
	case KindHello:
		return a.welcome(payload)
	case KindStage:
		return a.stage(h.ID, payload)
	case KindChunk:
		return a.chunk(h, payload)
	case KindListen:
		return a.listen(payload)
	case KindStart:
		return a.start(payload)
	case KindGo:
		return a.release()
	case KindStdin:
		return a.input(int(h.Dst), payload)
	case KindOutputCredit:
		return a.credit.add(h.ID)
	case KindSignal:
		a.signalAll(syscall.Signal(h.ID))
	case KindRespawn:
		return a.respawn(int(h.Dst), uint32(h.ID))
	case KindDeath:
		return a.bulletin.death(payload)
	case KindGiveUp:
		a.giveUp(int(h.Dst), uint32(h.ID))
	case KindStopped:
		a.tellStopped(int(h.Src), h.ID != 0)
	case KindSuspend:
		a.suspended.Store(true)
		a.signalAll(syscall.SIGSTOP)
	case KindResume:
		a.signalAll(syscall.SIGCONT)
		a.suspended.Store(false)
	case KindKill:
		a.ender.end(time.Duration(min(h.ID, 1<<40)) * time.Millisecond)
	case KindRelayOpen, KindRelayBytes, KindRelayCredit, KindRelayClose:
		a.takeRelay(h, payload)
	case KindBeat:
	default:
		return fmt.Errorf("frame of kind %d: not for an agent", h.Kind)
	}
	return nil
}

// send is for goroutines whose answer nobody awaits when the launcher is lost.
func (a *agent) send(h frame.Header, v any) {
	if v == nil {
		a.conn.Send(h, nil)
		return
	}
	a.conn.SendValue(h, v)
}

// fail tells the launcher that it does not get what it asked for.
func (a *agent) fail(f *Failure) {
	f.Text = f.Text[:min(len(f.Text), limits[KindNote])]
	a.send(frame.Header{Kind: KindFailure}, f)
}

// note tells the user something in one line.
func (a *agent) note(format string, args ...any) {
	b := fmt.Appendf(nil, format, args...)
	a.conn.Send(frame.Header{Kind: KindNote}, b[:min(len(b), limits[KindNote])])
}
