package comm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
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

type pending struct {
	conn   net.Conn
	source string // its address without the port; empty: of this machine, or proved
}

const (
	maxPending  = 64              // connections from the network that have proved nothing yet
	greetWithin = 5 * time.Second // time they have to
	maxReports  = 10              // lines about those turned away: a port scan must not flood the user

	acceptPause    = 10 * time.Millisecond // when that has failed
	acceptPatience = 100                   // pauses before the user hears of it

	trunkLinger = time.Second // for the last words to its ranks
)

func newDoor(h *hub, c *Comm, p *place.Place, fns []signature) *door {
	d := &door{hub: h, comm: c, place: p, fns: fns, missing: len(h.members) - 1, decided: make(chan struct{}), started: make(chan struct{})}
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

// admit bounds the connections from the network that have proved nothing. When there are too many, the address that has
// the most of them loses one; ranks that are turned away come again.
func (d *door) admit(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := pending{conn: conn}
	if _, ok := conn.(*net.TCPConn); ok {
		p.source, _, _ = net.SplitHostPort(conn.RemoteAddr().String())
		if !d.room(p.source) {
			return false
		}
	}
	d.pending = append(d.pending, p)
	return true
}

// room makes room for a connection from the network.
func (d *door) room(newcomer string) bool {
	count, all := make(map[string]int), 0
	most := newcomer
	for _, p := range d.pending {
		if p.source == "" {
			continue
		}
		all++
		if count[p.source]++; count[p.source] > count[most] {
			most = p.source
		}
	}
	if all < maxPending || most == newcomer {
		return all < maxPending
	}
	i := slices.IndexFunc(d.pending, func(p pending) bool { return p.source == most })
	d.pending[i].conn.Close()
	d.pending = slices.Delete(d.pending, i, i+1)
	return true
}

// proved notes that a connection is no stranger's. It returns false if it has been turned away meanwhile.
func (d *door) proved(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.pending, func(p pending) bool { return p.conn == conn })
	if i < 0 {
		return false
	}
	d.pending[i].source = ""
	return true
}

func (d *door) settled(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending = slices.DeleteFunc(d.pending, func(p pending) bool { return p.conn == conn })
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

// who is a stranger's name.
func who(conn net.Conn, encrypted bool) string {
	switch _, local := conn.(*net.UnixConn); { // whose peer has no name
	case local && encrypted:
		return "who comes through the relay"
	case local:
		return "a process of this machine"
	}
	return conn.RemoteAddr().String()
}

// report tells the user who was turned away. Once the start has failed Init says why, and nothing else matters.
func (d *door) report(from string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil || d.reports == maxReports || errors.Is(err, net.ErrClosed) {
		return
	}
	more := ""
	if d.reports++; d.reports == maxReports {
		more = " (so it does with more, of which it says no word)"
	}
	complain("rank 0: the hub turns away %s: %v%s", from, err, more)
}

// hangUp closes a connection so that the peer still gets the alert or refusal on it: what it has sent is read first,
// or the kernel would reset the connection.
func hangUp(conn net.Conn) {
	defer conn.Close()
	if c, ok := conn.(*net.TCPConn); ok {
		c.CloseWrite()
		c.SetDeadline(time.Now().Add(time.Second))
		io.CopyN(io.Discard, c, 16<<10)
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
	if d.place.Server == nil {
		return errors.New("the hub has no certificate")
	}
	secure, proof, err := d.place.Server.Server(poll(conn, neighbours(d.place)), d.place.Job)
	if err != nil {
		return err
	}
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

// enter takes a link's ranks in.
func (d *door) enter(l *link, hi hello) error {
	d.mu.Lock()
	late, err := d.missing == 0, d.err
	if err == nil && !late {
		err = d.seat(l, hi)
	}
	d.mu.Unlock()
	if err == nil && late {
		err = d.readmit(l, hi)
	}
	return err
}

// seat takes ranks in before the start. d.mu is held.
func (d *door) seat(l *link, hi hello) error {
	for _, r := range hi.Ranks {
		if m := d.hub.members[r.Rank]; m.link != nil && r.Incarnation <= m.incarnation {
			return fmt.Errorf("rank %d is in already", r.Rank)
		}
	}
	for _, r := range hi.Ranks {
		m := d.hub.members[r.Rank]
		if m.link != nil { // an earlier incarnation of it did not live to see the start
			d.dismiss(m.link)
		}
		m.sit(l, r)
		d.comm.slots[r.Rank] = r.Slots
		d.missing--
	}
	d.hub.links = append(d.hub.links, l)
	if d.missing == 0 {
		d.decide()
	}
	return nil
}

// dismiss takes a link's ranks out again before the start. d.mu is held.
func (d *door) dismiss(l *link) {
	l.conn.Close()
	d.hub.links = slices.DeleteFunc(d.hub.links, func(other *link) bool { return other == l })
	for _, r := range l.ranks {
		d.hub.members[r].link = nil
		d.missing++
	}
}

// readmit takes new incarnations of lost ranks in, after the start.
func (d *door) readmit(l *link, hi hello) error {
	<-d.started
	for _, r := range hi.Ranks {
		if err := d.hub.expect(r); err != nil {
			return err
		}
	}
	return d.hub.admit(l, hi.Ranks)
}

// decide ends the waiting: all are in. d.mu is held, or nobody else knows of d yet.
func (d *door) decide() {
	if d.comm.Slots() == 0 {
		d.err = errors.New("no rank has a slot: nobody would run a task")
	}
	close(d.decided)
}

// give gives the start up.
func (d *door) give(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && d.missing > 0 {
		d.err = err
		close(d.decided)
	}
}

// waitsWord is how long Init waits before it says for whom. It says so again ever more rarely.
const waitsWord = 2 * time.Second

// wait waits until all ranks are in. If they do not come it tells those that are there.
func (d *door) wait(ctx context.Context) error {
	for word, waits := waitsWord, true; waits; word = min(5*word, time.Minute) {
		select {
		case <-d.decided:
			waits = false
		case <-ctx.Done():
			d.give(fmt.Errorf("%s did not join: %w", d.absent(), context.Cause(ctx)))
			waits = false
		case <-time.After(word):
			complain("rank 0 waits in Init for %s to join", d.absent())
		}
	}
	d.mu.Lock()
	err := d.err // from here on neither it nor the links change
	d.mu.Unlock()
	if err == nil {
		return nil
	}
	for _, l := range d.hub.links {
		refuse(l.conn, err)
		l.conn.Close()
	}
	return errorf("%w", err)
}

// absent names the ranks that are not in.
func (d *door) absent() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	n := 0
	for _, m := range d.hub.members[1:] {
		if m.link != nil {
			continue
		}
		if n++; n <= 10 {
			names = append(names, fmt.Sprintf("%d (%s)", m.rank, d.comm.nodeName(m.rank)))
		}
	}
	if n > 10 {
		names = append(names, fmt.Sprintf("%d more", n-10))
	}
	return "rank " + strings.Join(names, ", ")
}
