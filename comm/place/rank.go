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
	conn      *net.UnixConn
	r         *frame.Reader
	lost      chan struct{} // closed when the agent is gone
	bye       sync.Once

	mu     sync.Mutex
	died   func(Death) // guarded by mu; nil before Died
	deaths []Death     // guarded by mu: those that came before it
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
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", env.Agent)
	if err != nil {
		return nil, fmt.Errorf("place: rank %d cannot reach its agent: %w", env.Rank, err)
	}
	conn := c.(*net.UnixConn)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	l, err := take(conn, Ask{Version: Version, Rank: env.Rank, PID: os.Getpid(), Role: role})
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	go l.watch()
	return l, nil
}

func take(conn *net.UnixConn, ask Ask) (*Link, error) {
	if err := checkPeer(conn); err != nil {
		return nil, err
	}
	if err := writeCBOR(conn, kindAsk, ask); err != nil {
		return nil, fmt.Errorf("place: rank %d asks its agent: %w", ask.Rank, err)
	}
	fds := &fdReader{conn: conn}
	r := frame.NewReader(fds, &limits)
	h, payload, err := r.Next()
	if err != nil {
		fds.close()
		return nil, fmt.Errorf("place: rank %d waits for its agent's answer: %w", ask.Rank, err)
	}
	l := &Link{conn: conn, r: r, lost: make(chan struct{})}
	switch h.Kind {
	case kindRefuse:
		err = fmt.Errorf("place: the agent refuses rank %d: %s", ask.Rank, payload)
	case kindPlace:
		if err = cbor.Unmarshal(payload, &l.Place); err == nil {
			l.Listeners, err = listeners(fds.files, l.Place.Listeners)
		}
	default:
		err = fmt.Errorf("place: the agent answers rank %d with a frame of kind %d", ask.Rank, h.Kind)
	}
	fds.close()
	if err != nil {
		return nil, err
	}
	return l, nil
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

// watch hears of deaths until the agent's end.
func (l *Link) watch() {
	defer close(l.lost)
	for {
		h, payload, err := l.r.Next()
		if err != nil {
			return
		}
		var d Death
		if h.Kind != kindDeath || cbor.Unmarshal(payload, &d) != nil {
			l.conn.Close() // it breaks the protocol
			return
		}
		l.mu.Lock()
		if l.died != nil {
			l.died(d)
		} else {
			l.deaths = append(l.deaths, d)
		}
		l.mu.Unlock()
	}
}

// Died has f called, which must not block, with each death that rank 0 is told of, one after the other.
func (l *Link) Died(f func(Death)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.died = f
	for _, d := range l.deaths {
		f(d)
	}
	l.deaths = nil
}

// Lost is closed when the agent is gone, or after Close.
func (l *Link) Lost() <-chan struct{} { return l.lost }

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
