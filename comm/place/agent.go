package place

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/pprun/pprun/comm/frame"
)

// maxSocketPath is what sun_path holds on every system, with room to spare.
const maxSocketPath = 100

// askTimeout is how long a process that connected may take to ask.
const askTimeout = 5 * time.Second

// Listen opens a Unix socket at path, whose directory must be the caller's own with mode 0700.
func Listen(path string) (*net.UnixListener, error) {
	if len(path) >= maxSocketPath {
		return nil, fmt.Errorf("place: socket path %s has %d bytes, at most %d: set TMPDIR or XDG_RUNTIME_DIR to a shorter one", path, len(path), maxSocketPath-1)
	}
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// Asker is an agent's end of the connection to a rank that has asked for its place.
type Asker struct {
	Ask  Ask
	conn *net.UnixConn
	r    *frame.Reader
}

// Accept reads what the process behind conn asks. It closes conn on error: another user, another protocol, silence.
func Accept(conn *net.UnixConn) (*Asker, error) {
	a, err := accept(conn)
	if err != nil {
		conn.Close()
	}
	return a, err
}

func accept(conn *net.UnixConn) (*Asker, error) {
	if err := checkPeer(conn); err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(askTimeout))
	a := &Asker{conn: conn, r: frame.NewReader(conn, &limits)}
	h, payload, err := a.r.Next()
	if err != nil {
		return nil, fmt.Errorf("place: a process that connected asks nothing: %w", err)
	}
	if h.Kind != kindAsk {
		return nil, fmt.Errorf("place: a process that connected sent a frame of kind %d, want an ask", h.Kind)
	}
	if err := cbor.Unmarshal(payload, &a.Ask); err != nil {
		return nil, fmt.Errorf("place: ask: %w", err)
	}
	conn.SetDeadline(time.Time{})
	if a.Ask.Version != Version {
		err := fmt.Errorf("protocol %d, this agent speaks %d: build the program with the comm of this pprun", a.Ask.Version, Version)
		a.Refuse(err.Error())
		return nil, fmt.Errorf("place: rank %d: %w", a.Ask.Rank, err)
	}
	return a, nil
}

// Give answers with the place and, for rank 0, the hub's listeners. The files stay the caller's.
func (a *Asker) Give(p Place, files []*os.File) error { return writePlace(a.conn, p, files) }

// Tell tells the rank, which has got its place, how another one ended. It blocks while the rank reads nothing.
func (a *Asker) Tell(d Death) error { return writeCBOR(a.conn, kindDeath, d) }

// TellStopped tells the rank that the process of another one is stopped, or goes on. It blocks as Tell does.
func (a *Asker) TellStopped(rank int, stopped bool) error {
	h := frame.Header{Kind: kindStopped, Src: uint32(rank)}
	if stopped {
		h.ID = 1
	}
	return frame.Write(a.conn, h, nil)
}

// Relay answers who has asked for a relay: the link is there. Its bytes go through the connection that is returned.
func (a *Asker) Relay() (net.Conn, error) {
	return a.conn, frame.Write(a.conn, frame.Header{Kind: kindRelay}, nil)
}

// Refuse answers with a reason and closes the connection.
func (a *Asker) Refuse(reason string) {
	frame.Write(a.conn, frame.Header{Kind: kindRefuse}, []byte(reason))
	a.conn.Close()
}

// News is what a rank says while it is in the job.
type News struct {
	Relayed func(why string) // its link to the hub goes through the relay
	Orphan  func(why string) // its link to the hub has ended before the job; why: it gave it up, having heard nothing
	Joined  func()           // all ranks have joined
	Missed  func(Missed)     // what it hears of another rank
	Ran     func(Ran)        // what another rank ran when it was lost
}

// Wait blocks until the rank has said bye (true) or its end of the connection is gone (false).
func (a *Asker) Wait(news News) (bye bool) {
	defer a.conn.Close()
	for {
		h, payload, err := a.r.Next()
		switch {
		case err == nil && h.Kind == kindRelayed:
			news.Relayed(string(payload))
		case err == nil && h.Kind == kindOrphan:
			news.Orphan(string(payload))
		case err == nil && h.Kind == kindJoined:
			news.Joined()
		case err == nil && h.Kind == kindMissed:
			news.Missed(Missed{int(h.Src), h.Dst, Hearing(h.ID)})
		case err == nil && h.Kind == kindRan:
			var r Ran
			if cbor.Unmarshal(payload, &r) != nil {
				return false // it breaks the protocol
			}
			news.Ran(r)
		default:
			return err == nil && h.Kind == kindBye
		}
	}
}

// Close ends the connection; Wait returns.
func (a *Asker) Close() { a.conn.Close() }

// checkPeer refuses a peer of another uid.
func checkPeer(conn *net.UnixConn) error {
	uid, err := PeerUID(conn)
	if err != nil {
		return fmt.Errorf("place: uid of the peer: %w", err)
	}
	if uid != os.Getuid() {
		return fmt.Errorf("place: the peer runs as uid %d, this process as %d", uid, os.Getuid())
	}
	return nil
}
