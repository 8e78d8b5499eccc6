package comm

import (
	"errors"
	"io"
	"net"
	"slices"
	"time"
)

const (
	maxPending = 64 // connections from the network that have proved nothing yet
	maxReports = 10 // lines about those turned away: a port scan must not flood the user
)

// pending is a connection that has not proved itself, or not yet said hello.
type pending struct {
	conn   net.Conn
	source string // its address without the port; empty: of this machine, or proved
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
