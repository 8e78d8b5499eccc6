package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// newRelays makes what carries streams through the launcher: links to the hub, of ranks here, or, on the node of rank 0, of
// ranks elsewhere.
func newRelays(conn *Conn) *frame.Mux {
	var turn sync.Mutex // held while bytes are sent: all else that is to be sent waits for one frame at most
	return frame.NewMux(KindRelayOpen, func(h frame.Header, b []byte) error {
		if h.Kind == KindRelayBytes {
			turn.Lock()
			defer turn.Unlock()
		}
		return conn.SendHeaded(h, b)
	})
}

// relay carries a link of a rank to the hub.
func (a *agent) relay(k *place.Asker, hub int) {
	s, err := a.relays.Open(a.life, uint32(hub))
	if err != nil {
		k.Refuse("no relay: " + err.Error())
		return
	}
	a.carry(k, s)
}

// carry carries a link of a rank over a stream.
func (a *agent) carry(k *place.Asker, s *frame.Stream) {
	conn, err := k.Relay()
	if err != nil && !place.HungUp(err) { // else the rank has found a shorter way; reading will fail as well
		a.note("agent on %s: relay of rank %d: %v", a.host, k.Ask.Rank, err)
	}
	s.Join(conn)
}

// takeRelay handles a frame of a relay. Nothing in it is the launcher's fault, which has not looked at it.
func (a *agent) takeRelay(h frame.Header, payload []byte) {
	if s := a.relays.Take(h, payload); s != nil {
		go a.takeUp(s)
	}
}

// takeUp carries a link to the hub here of a rank elsewhere.
func (a *agent) takeUp(s *frame.Stream) {
	<-a.started // then the hub's socket is there
	conn, err := a.hub.dial(a.life)
	if err != nil {
		s.Refuse(err.Error())
		return
	}
	s.Accept()
	s.Join(conn)
}

// dial connects to the hub, as one who relays.
func (h *hub) dial(ctx context.Context) (net.Conn, error) {
	if h.relayPath == "" {
		return nil, errors.New("rank 0 does not run")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", h.relayPath)
	if err != nil {
		return nil, fmt.Errorf("rank 0 is gone: %w", err)
	}
	return conn, nil
}
