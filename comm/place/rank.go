package place

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/pprun/pprun/comm/frame"
)

// ErrNoAgent is returned by Take where no agent started this process.
var ErrNoAgent = errors.New("place: not started by pprun (PPRUN_AGENT is not set)")

// Link is a rank's end of the connection to its agent.
type Link struct {
	Place     Place
	Listeners []net.Listener // the hub's, in the order of Place.Listeners; rank 0 only
	agent     string         // path of its socket
	conn      *net.UnixConn
	r         *frame.Reader
	lost      chan struct{} // closed when the agent is gone
	bye       sync.Once

	mu    sync.Mutex
	to    *Told    // guarded by mu; nil before Hear
	early []func() // guarded by mu: what came before it
}

// Told is called with what the agent has to tell, in order. No function may block; those that are nil are left out.
type Told struct {
	Died    func(Death)                  // how another rank's process ended; rank 0 is told
	Stopped func(rank int, stopped bool) // another rank's process is stopped, or goes on; rank 0 is told, and of rank 0 all are
}

// Take asks this process's agent for its place. It returns ErrNoAgent where there is none, and the agent's own words
// where the agent refuses. The descriptors of Listeners belong to the caller.
func Take(ctx context.Context, role Role) (*Link, error) {
	env, ok, err := FromEnviron()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrNoAgent
	}
	return TakeAs(ctx, env, role)
}

// TakeAs is Take for a process that no agent has started.
func TakeAs(ctx context.Context, env Env, role Role) (*Link, error) {
	l := &Link{agent: env.Agent, lost: make(chan struct{})}
	var err error
	l.conn, l.r, err = ask(ctx, l.agent, Ask{Version: Version, Rank: env.Rank, PID: os.Getpid(), Role: role}, kindPlace, l.take)
	if err != nil {
		return nil, err
	}
	go l.watch()
	return l, nil
}

// take takes in the place.
func (l *Link) take(payload []byte, files []*os.File) (err error) {
	if err = cbor.Unmarshal(payload, &l.Place); err == nil {
		l.Listeners, err = listeners(files, l.Place.Listeners)
	}
	return err
}

// ask asks the agent, and returns the connection once take has taken in its answer, a frame of kind want. The files that
// came with it are closed then.
func ask(ctx context.Context, agent string, a Ask, want frame.Kind, take func(payload []byte, files []*os.File) error) (*net.UnixConn, *frame.Reader, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", agent)
	if err != nil {
		return nil, nil, fmt.Errorf("place: rank %d cannot reach its agent: %w", a.Rank, err)
	}
	conn := c.(*net.UnixConn)
	fds := &fdReader{conn: conn}
	r := frame.NewReader(fds, &limits)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	payload, err := a.on(conn, r, want)
	if err == nil {
		err = take(payload, fds.files)
	}
	fds.close()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, r, nil
}

// on asks on a connection, and returns what a frame of kind want has to say.
func (a *Ask) on(conn *net.UnixConn, r *frame.Reader, want frame.Kind) ([]byte, error) {
	if err := checkPeer(conn); err != nil {
		return nil, err
	}
	if err := writeCBOR(conn, kindAsk, a); err != nil {
		return nil, fmt.Errorf("place: rank %d asks its agent: %w", a.Rank, err)
	}
	h, payload, err := r.Next()
	switch {
	case err != nil:
		return nil, fmt.Errorf("place: rank %d waits for its agent's answer: %w", a.Rank, err)
	case h.Kind == kindRefuse:
		return nil, fmt.Errorf("place: the agent refuses rank %d: %s", a.Rank, payload)
	case h.Kind != want:
		return nil, fmt.Errorf("place: the agent answers rank %d with a frame of kind %d", a.Rank, h.Kind)
	}
	return payload, nil
}

// listeners turns descriptors into listeners; they are duplicates, the files stay the caller's to close.
func listeners(files []*os.File, networks []string) ([]net.Listener, error) {
	if len(files) != len(networks) {
		return nil, fmt.Errorf("place: %d descriptors came for %d listeners", len(files), len(networks))
	}
	var ls []net.Listener
	for i, f := range files {
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("place: the hub's %s listener: %w", networks[i], err)
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// watch hears what the agent tells until its end.
func (l *Link) watch() {
	defer close(l.lost)
	for {
		h, payload, err := l.r.Next()
		if err != nil {
			return
		}
		var d Death
		switch {
		case h.Kind == kindStopped:
			l.pass(func() {
				if l.to.Stopped != nil {
					l.to.Stopped(int(h.Src), h.ID != 0)
				}
			})
		case h.Kind == kindDeath && cbor.Unmarshal(payload, &d) == nil:
			l.pass(func() {
				if l.to.Died != nil {
					l.to.Died(d)
				}
			})
		default:
			l.conn.Close() // it breaks the protocol
			return
		}
	}
}

// pass tells something, now or later.
func (l *Link) pass(tell func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.to == nil {
		l.early = append(l.early, tell)
		return
	}
	tell()
}

// Hear has what the agent tells, and has told before, passed on. It is called once.
func (l *Link) Hear(to Told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = &to
	for _, tell := range l.early {
		tell()
	}
	l.early = nil
}

// Lost is closed when the agent is gone, or after Close.
func (l *Link) Lost() <-chan struct{} { return l.lost }

// Relay opens a link to the hub that goes through the agent. Where Place.Hub has a relay, the launcher and the agent of rank 0
// carry its bytes on, unread, but it is for the rank and the hub to prove to each other who they are. No byte may come from
// the hub before one has gone there.
func (l *Link) Relay(ctx context.Context) (net.Conn, error) {
	conn, r, err := ask(ctx, l.agent, Ask{Version: Version, Rank: l.Place.Rank, PID: os.Getpid(), Relay: true}, kindRelay,
		func([]byte, []*os.File) error { return nil })
	if err != nil {
		return nil, err
	}
	if n := len(r.Rest()); n > 0 {
		conn.Close()
		return nil, fmt.Errorf("place: the relay of rank %d begins with %d bytes, want none", l.Place.Rank, n)
	}
	return conn, nil
}

// Relayed tells the agent, and so the user, why this rank's link to the hub goes through the relay. Call it before Bye.
func (l *Link) Relayed(why string) error {
	return frame.Write(l.conn, frame.Header{Kind: kindRelayed}, []byte(why[:min(len(why), limits[kindRelayed])]))
}

// Orphan tells the agent that the link to the hub has ended before the job has: if this rank fails now, it is not for
// itself. why says so where this rank has given the link up, having heard nothing.
func (l *Link) Orphan(why string) error {
	return frame.Write(l.conn, frame.Header{Kind: kindOrphan}, []byte(why[:min(len(why), limits[kindOrphan])]))
}

// Joined tells the agent that all ranks have joined the hub, which is in this rank: before that the job cannot do without any
// that uses it.
func (l *Link) Joined() error { return frame.Write(l.conn, frame.Header{Kind: kindJoined}, nil) }

// Missed tells the agent what the hub, which is in this rank, hears of another one.
func (l *Link) Missed(m Missed) error {
	return frame.Write(l.conn, frame.Header{Kind: kindMissed, Src: uint32(m.Rank), Dst: m.Incarnation, ID: uint64(m.How)}, nil)
}

// Ran tells the agent, and so the user, what another rank ran when it was lost. Only rank 0 is believed.
func (l *Link) Ran(r Ran) error { return writeCBOR(l.conn, kindRan, r) }

// Bye tells the agent that this rank has left the job in order, and closes the link.
func (l *Link) Bye() error {
	var err error
	l.bye.Do(func() {
		err = frame.Write(l.conn, frame.Header{Kind: kindBye}, nil)
		l.conn.Close()
		<-l.lost
	})
	return err
}

// Close closes the link without a word.
func (l *Link) Close() {
	l.bye.Do(func() {
		l.conn.Close()
		<-l.lost
	})
}
