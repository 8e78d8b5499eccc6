package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// trunk is this node's connection to the hub that carries the links of all its ranks (Start.Trunk): the hub has one
// descriptor and one handshake for the node. Each link is a stream of its own, so ranks come, go and are slow by
// themselves, and the agent knows nothing of what they say.
type trunk struct {
	life context.Context // ends with it
	die  context.CancelFunc
	work sync.WaitGroup // of connections

	mu    sync.Mutex                  // held while a connection is made
	conn  atomic.Pointer[frame.Trunk] // set with mu held; nil: there is none
	stale atomic.Bool                 // nothing has come over it for a while
}

func newTrunk() *trunk {
	t := &trunk{}
	t.life, t.die = context.WithCancel(context.Background())
	return t
}

// branch carries a link of a rank over the trunk.
func (a *agent) branch(k *place.Asker, s *Start) {
	stream, err := a.trunkStream(s)
	if err != nil {
		k.Refuse("no way to rank 0: " + err.Error())
		return
	}
	a.carry(k, stream)
}

// trunkStream opens a stream to the hub, which may turn nodes away for a moment when too many connect at once.
func (a *agent) trunkStream(s *Start) (*frame.Stream, error) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		t, err := a.trunkConn(s)
		if err == nil {
			var stream *frame.Stream
			if stream, err = t.Open(a.trunk.life); err == nil {
				return stream, nil
			}
		}
		if !place.Temporary(err) && !errors.Is(err, net.ErrClosed) { // by listen: it was given up while this link waited
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-a.trunk.life.Done():
			return nil, err
		}
	}
}

// trunkConn returns the connection, which it makes where there is none.
func (a *agent) trunkConn(s *Start) (*frame.Trunk, error) {
	a.trunk.mu.Lock()
	defer a.trunk.mu.Unlock()
	if old := a.trunk.conn.Load(); old != nil && old.Err() == nil {
		if !a.trunk.stale.Load() {
			return old, nil
		}
		old.Close(0)
	}
	hub := append(tcp(s.Hub), place.Address{Network: "relay"})
	late := time.Now().Add(place.RelayAfter)
	conn, why, err := place.Reach(a.trunk.life, hub, late, func(ctx context.Context, addr place.Address) (net.Conn, error) {
		return a.reachHub(ctx, addr, s)
	})
	if err != nil {
		return nil, err
	}
	if why != "" {
		a.conn.Send(frame.Header{Kind: KindRelayed, Src: uint32(s.Ranks[0].Rank)}, []byte(why[:min(len(why), limits[KindRelayed])]))
	}
	t := frame.NewTrunk(conn, len(s.Ranks))
	a.trunk.conn.Store(t)
	a.trunk.stale.Store(false)
	a.trunk.work.Go(func() { t.Run(nil) })
	return t, nil
}

// reachHub connects to one of the hub's addresses, and has both ends prove who they are.
func (a *agent) reachHub(ctx context.Context, addr place.Address, s *Start) (net.Conn, error) {
	conn, err := a.openHub(ctx, addr, s)
	if err != nil {
		return nil, err
	}
	var secure *tls.Conn
	if secure, err = identity(s, s.ClientCert, a.key).Client(conn, a.hello.Job, place.ProtoNode); err == nil {
		err = secure.HandshakeContext(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

func (a *agent) openHub(ctx context.Context, addr place.Address, s *Start) (net.Conn, error) {
	if addr.Network == "relay" {
		return a.relays.Open(ctx, uint32(s.NodeOf[0]))
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, addr.Network, addr.Addr)
	if err == nil {
		place.KeepAlive(conn, a.timeout())
	}
	return conn, err
}

// listen gives the connection up when its other end is dead, so that the next link finds another way: its streams have
// heartbeats of their own, but end one by one. excused: rank 0 is stopped. It is called with each tick of the clock.
func (t *trunk) listen(clock *frame.Clock, excused bool) {
	conn := t.conn.Load()
	if conn == nil || conn.Err() != nil {
		return
	}
	silence := conn.Silence()
	if excused {
		silence.Break()
	} else if clock.Dead(silence) && conn.Streams() > 0 {
		conn.Close(0)
	}
	t.stale.Store(clock.Missed(silence))
}

// end ends the trunk, once what the ranks have sent is on its way, or linger is over.
func (t *trunk) end(linger time.Duration) {
	t.die()
	t.mu.Lock()
	if conn := t.conn.Load(); conn != nil {
		conn.Close(linger)
	}
	t.mu.Unlock()
	t.work.Wait()
}
