package comm

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// A door lets ranks in to the hub: it checks who they are, and holds them until all are there.
type door struct {
	hub   *hub
	comm  *Comm // rank 0
	place *place.Place
	fns   []signature
	tls   func() (place.Server, error)

	mu        sync.Mutex // guards the fields below
	missing   int        // ranks not in yet
	err       error      // why the job cannot start
	decided   chan struct{}
	started   chan struct{} // closed once all are welcome: those who come later come again
	pending   []pending     // connections not authenticated yet, oldest first
	reports   int           // of connections turned away
	trunks    []*frame.Trunk
	closed    bool // no more trunks
	listeners []net.Listener
	accepting sync.WaitGroup
	greeting  sync.WaitGroup
}

const (
	acceptPause    = 10 * time.Millisecond // when that has failed
	acceptPatience = 100                   // pauses before the user hears of it

	greetWithin = 5 * time.Second // time that a connection has to prove itself
	trunkLinger = time.Second     // for the last words to its ranks
)

func newDoor(h *hub, c *Comm, p *place.Place, fns []signature) *door {
	d := &door{hub: h, comm: c, place: p, fns: fns, missing: len(h.members) - 1, decided: make(chan struct{}), started: make(chan struct{})}
	d.tls = sync.OnceValues(func() (place.Server, error) {
		if p.Server == nil {
			return nil, errors.New("the hub has no certificate")
		}
		return p.Server.Server(p.Job)
	})
	if d.missing == 0 {
		d.decide()
	}
	return d
}

// open accepts connections until close.
func (d *door) open(listeners []net.Listener) {
	d.listeners = listeners
	for i, l := range listeners {
		encrypted := d.place.Listeners[i] != "unix"
		d.accepting.Go(func() { d.accept(l, encrypted) })
	}
}

func (d *door) close() {
	for _, l := range d.listeners {
		l.Close()
	}
	d.accepting.Wait()
	d.mu.Lock()
	for _, p := range d.pending {
		p.conn.Close()
	}
	d.closed = true
	for _, t := range d.trunks {
		t.Close(trunkLinger)
	}
	d.mu.Unlock()
	d.greeting.Wait()
}

func (d *door) accept(l net.Listener, encrypted bool) {
	for failures := 0; ; {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or the peer has left already
			if failures++; failures == acceptPatience {
				complain("rank 0: the hub cannot let more ranks in: %v: raise the limit of open files (ulimit -Hn) on %s", err, d.comm.nodeName(0))
			}
			time.Sleep(acceptPause)
			continue
		}
		failures = 0
		if d.admit(conn) {
			d.greeting.Go(func() {
				defer d.settled(conn)
				d.meet(conn, who(conn, encrypted), func() error { return d.authenticate(conn, encrypted) })
			})
		} else {
			conn.Close()
		}
	}
}

// meet hears a connection's hello, or turns it away.
func (d *door) meet(conn net.Conn, who string, hear func() error) {
	conn.SetDeadline(time.Now().Add(greetWithin))
	err := hear()
	if err == nil {
		return
	}
	hangUp(conn)
	if !place.HungUp(err) { // else it is a rank that has found a shorter way
		d.report(who, err)
	}
}

func (d *door) authenticate(conn net.Conn, encrypted bool) error {
	if c, ok := conn.(*net.UnixConn); ok {
		uid, err := place.PeerUID(c)
		if err != nil {
			return err
		}
		if uid != selfUID {
			return fmt.Errorf("it runs as uid %d, this process as %d", uid, selfUID)
		}
	}
	if !encrypted {
		return d.greet(poll(conn, neighbours(d.place)), func(int) bool { return true })
	}
	place.KeepAlive(conn, d.place.Heartbeat)
	server, err := d.tls()
	if err != nil {
		return err
	}
	secure, proof := server(poll(conn, neighbours(d.place)))
	if err := secure.Handshake(); err != nil {
		return err
	}
	if !d.proved(conn) {
		return net.ErrClosed
	}
	allowed := func(rank int) bool { return proof.Holds(rank, d.comm.ranks.Load().node[rank]) }
	if secure.ConnectionState().NegotiatedProtocol == place.ProtoNode {
		return d.gather(conn, secure, allowed)
	}
	return d.greet(secure, allowed)
}

// greet hears the hello of an authenticated connection. If all is well the connection becomes a link.
func (d *door) greet(conn net.Conn, allowed func(rank int) bool) error {
	l := newLink(conn, &upLimits)
	var hi hello
	if err := readCBOR(l.reader, kindHello, &hi); err != nil {
		return fmt.Errorf("its hello: %w", err)
	}
	if err := hi.check(d.place.Job, d.comm.Size(), allowed); err != nil {
		refuse(conn, err)
		return err
	}
	if !hi.matches(d.fns) {
		return d.compare(l, hi)
	}
	conn.SetDeadline(time.Time{}) // once it has entered, the link is the hub's
	if err := d.enter(l, hi); err != nil {
		conn.SetDeadline(time.Now().Add(greetWithin))
		if errors.Is(err, errOver) { // a rank that was started again in vain: nothing is wrong with it
			defer conn.Close()
			return frame.Write(conn, frame.Header{Kind: kindBye}, nil)
		}
		refuse(conn, err)
		return err
	}
	return nil
}

// refuse tells a rank why it is not let in.
func refuse(w io.Writer, why error) {
	text := why.Error()
	frame.Write(w, frame.Header{Kind: kindRefuse}, []byte(text[:min(len(text), downLimits[kindRefuse])]))
}

// compare finds out which functions differ, and ends the start.
func (d *door) compare(l *link, hi hello) error {
	b, err := appendCBOR(nil, kindDiffer, d.fns)
	if err != nil {
		return err
	}
	if _, err := l.conn.Write(b); err != nil {
		return err
	}
	var theirs []signature
	if err := readCBOR(l.reader, kindDiffer, &theirs); err != nil {
		return fmt.Errorf("its functions: %w", err)
	}
	rank := hi.Ranks[0].Rank
	err = fmt.Errorf("rank %d (%s) is another program than rank 0: %s", rank, d.comm.nodeName(rank), difference(d.fns, theirs))
	d.give(err)
	return err
}
