package agent

import (
	"cmp"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// seats opens the socket where ranks ask for their place, and the hub's where rank 0 will run, and serves it.
func (a *agent) seats(s *Start) (path string, err error) {
	dir, err := a.dirs.sockets(a.hello.Job)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "agent")
	if a.rank(0) != nil {
		if err := a.hub.open(dir); err != nil {
			return "", err
		}
	}
	l, err := place.Listen(path)
	if err != nil {
		return "", err
	}
	a.seating.listener = l
	a.seating.work.Go(func() { a.usher(l, s) })
	return path, nil
}

// usher takes in the processes that ask for their place.
func (a *agent) usher(l *net.UnixListener, s *Start) {
	const pause, patience = 10 * time.Millisecond, 100 // while ranks are started more is open than later
	for failures := 1; ; {
		c, err := l.AcceptUnix()
		if err == nil {
			failures = 1
			a.seating.work.Go(func() { a.seat(c, s) })
			continue
		}
		if !transient(err) {
			return
		}
		if failures++; failures == patience {
			ranks, use := len(s.Ranks), Linked
			if s.Trunk {
				use = Behind
			}
			why := cmp.Or(OwnLimits().Lack(Needs(ranks, use)), "their agent cannot let them all in: "+reason(err))
			a.fail(&Failure{Phase: "start", Rank: -1, Code: 125, Text: fmt.Sprintf("%d ranks on %s are too many: %s", ranks, a.host, why)})
		}
		time.Sleep(pause)
	}
}

// seating is what serves the ranks' socket.
type seating struct {
	listener *net.UnixListener
	work     sync.WaitGroup
}

// unseat ends the service; all ranks have ended.
func (a *agent) unseat() {
	if a.seating.listener != nil {
		a.seating.listener.Close()
	}
	for _, r := range a.all() {
		r.seat.close()
	}
	a.trunk.end(time.Second)
	a.relays.Abandon()
	a.relays.Wait()
	a.seating.work.Wait()
	a.hub.close()
}

// seat serves one process that asks for its place, as long as it stays connected.
func (a *agent) seat(c *net.UnixConn, s *Start) {
	k, err := place.Accept(c)
	if err != nil {
		if !a.ender.begun() && !place.HungUp(err) { // a rank may be killed while it asks
			a.note("agent on %s: %v", a.host, err)
		}
		return
	}
	r := a.rank(k.Ask.Rank)
	if r == nil {
		k.Refuse(fmt.Sprintf("rank %d does not run on %s", k.Ask.Rank, a.host))
		return
	}
	switch {
	case k.Ask.Relay && s.Trunk:
		a.branch(k, s)
		return
	case k.Ask.Relay:
		a.relay(k, s.NodeOf[0])
		return
	}
	if err := r.seat.take(k); err != nil {
		k.Refuse(err.Error())
		return
	}
	a.conn.Send(frame.Header{Kind: KindRole, Src: uint32(k.Ask.Rank), ID: uint64(k.Ask.Role)}, nil)
	p, files := a.place(r, s)
	err = k.Give(p, files)
	if err != nil && !place.HungUp(err) {
		a.note("agent on %s: place of rank %d: %v", a.host, k.Ask.Rank, err)
	}
	r.seat.give()
	if k.Ask.Rank == 0 {
		a.hub.close() // rank 0 has it now, and a hub without rank 0 must refuse, not queue
		defer a.bulletin.tell(k)()
	}
	left := k.Wait(a.news(k, r))
	r.seat.gone <- left
	if r.attached() {
		<-a.started
		a.send(frame.Header{Kind: KindExit}, Exit{Rank: r.Rank.Rank, PID: r.PID, Joined: true, Left: left})
	}
}

// news passes on what a rank says once it has its place. Of other ranks rank 0 alone speaks.
func (a *agent) news(k *place.Asker, r *rank) place.News {
	n := place.News{
		Relayed: func(why string) {
			a.conn.Send(frame.Header{Kind: KindRelayed, Src: uint32(k.Ask.Rank)}, []byte(why))
		},
		Orphan: func(why string) { r.seat.orphan.Store(&why) },
		Joined: func() {},
		Missed: func(place.Missed) {},
		Ran:    func(place.Ran) {},
	}
	if k.Ask.Rank == 0 {
		n.Joined = func() { a.conn.Send(frame.Header{Kind: KindJoined}, nil) }
		n.Missed = func(m place.Missed) {
			a.conn.Send(frame.Header{Kind: KindMissed, Src: uint32(m.Rank), Dst: m.Incarnation, ID: uint64(m.How)}, nil)
		}
		n.Ran = func(ran place.Ran) { a.conn.SendValue(frame.Header{Kind: KindRan}, ran) }
	}
	return n
}

// place is the place of r, with the hub's listeners where it is rank 0.
func (a *agent) place(r *rank, s *Start) (place.Place, []*os.File) {
	p := place.Place{
		Job: a.hello.Job, Rank: r.Rank.Rank, Size: s.Size, LocalRank: r.LocalRank,
		Node: a.hello.Node, Nodes: s.Nodes, NodeOf: s.NodeOf, Slots: s.Slots,
		Client: identity(s, s.ClientCert, a.key), Incarnation: r.incarnation,
		Heartbeat: a.timeout(),
	}
	if len(s.Ranks) > 1 {
		if dir, err := a.dirs.private(a.hello.Job); err == nil { // without, each rank fetches for itself
			p.Dir = dir
		}
	}
	if r.Rank.Rank == 0 {
		p.Server = identity(s, s.HubCert, a.hub.key)
		networks, files := a.hub.files()
		p.Listeners = networks
		return p, files
	}
	if s.Trunk {
		p.Hub = []place.Address{{Network: "node"}}
		return p, nil
	}
	if a.hub.path != "" {
		p.Hub = append(p.Hub, place.Address{Network: "unix", Addr: a.hub.path})
	}
	p.Hub = append(p.Hub, tcp(s.Hub)...)
	if s.NodeOf[0] != a.hello.Node {
		p.Hub = append(p.Hub, place.Address{Network: "relay"})
	}
	return p, nil
}

// tcp makes addresses of the hub of their host:port.
func tcp(hub []string) (all []place.Address) {
	for _, addr := range hub {
		all = append(all, place.Address{Network: "tcp", Addr: addr})
	}
	return all
}

// identity is nil on one host, where nobody needs certificates.
func identity(s *Start, cert []byte, key ed25519.PrivateKey) *place.Identity {
	if len(s.CA) == 0 || len(cert) == 0 || key == nil {
		return nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil
	}
	return &place.Identity{CA: s.CA, Cert: cert, Key: der, Time: s.Time}
}
