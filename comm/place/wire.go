package place

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/fxamacker/cbor/v2"
	"github.com/pprun/pprun/comm/frame"
)

const (
	kindAsk     frame.Kind = 1  // rank -> agent: CBOR Ask
	kindPlace   frame.Kind = 2  // agent -> rank: CBOR Place; the descriptors travel with its first byte
	kindRefuse  frame.Kind = 3  // agent -> rank: text
	kindBye     frame.Kind = 4  // rank -> agent: empty
	kindDeath   frame.Kind = 5  // agent -> rank: CBOR Death
	kindRelay   frame.Kind = 6  // agent -> rank: empty; the last frame on its connection
	kindRelayed frame.Kind = 7  // rank -> agent: text
	kindOrphan  frame.Kind = 8  // rank -> agent: text: what it missed; empty: nothing
	kindRan     frame.Kind = 9  // rank -> agent: CBOR Ran
	kindMissed  frame.Kind = 11 // rank -> agent: Src: rank. Dst: incarnation. ID: Hearing
	kindJoined  frame.Kind = 12 // rank -> agent: empty
	kindStopped frame.Kind = 10 // agent -> rank: Src: rank. ID 1: it is stopped, 0: it goes on
)

var limits = frame.Limits{
	kindAsk:     4 << 10,
	kindPlace:   8 << 20, // 65,536 ranks take about 1 MiB
	kindRefuse:  4 << 10,
	kindBye:     frame.NoPayload,
	kindDeath:   16 << 10,
	kindRelay:   frame.NoPayload,
	kindRelayed: 4 << 10,
	kindOrphan:  4 << 10,
	kindMissed:  frame.NoPayload,
	kindJoined:  frame.NoPayload,
	kindRan:     16 << 10, // MaxRan names
	kindStopped: frame.NoPayload,
}

// maxListeners bounds the descriptors that travel with a place.
const maxListeners = 16

// Ask is what a rank says of itself.
type Ask struct {
	Version   int
	Rank, PID int
	Role      Role
	Relay     bool // not for a place, but for a relay
}

func writeCBOR(c *net.UnixConn, kind frame.Kind, v any) error {
	b, err := cbor.Marshal(v)
	if err != nil {
		return err
	}
	return frame.Write(c, frame.Header{Kind: kind}, b)
}

// writePlace sends the place with the listeners' descriptors on its first byte.
func writePlace(c *net.UnixConn, p Place, files []*os.File) error {
	if len(files) != len(p.Listeners) || len(files) > maxListeners {
		return fmt.Errorf("place: %d descriptors for %d listeners, at most %d", len(files), len(p.Listeners), maxListeners)
	}
	b, err := cbor.Marshal(p)
	if err != nil {
		return err
	}
	b = frame.Append(nil, frame.Header{Kind: kindPlace}, b)
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = syscall.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		_, err = c.Write(b[n:])
	}
	return err
}

// fdReader reads a Unix connection and keeps the descriptors that come with the bytes.
type fdReader struct {
	conn  *net.UnixConn
	files []*os.File
}

func (r *fdReader) Read(b []byte) (int, error) {
	oob := make([]byte, syscall.CmsgSpace(4*maxListeners))
	n, noob, flags, _, err := r.conn.ReadMsgUnix(b, oob)
	if noob > 0 {
		if err := r.keep(oob[:noob]); err != nil {
			return n, err
		}
	}
	if err == nil && flags&syscall.MSG_CTRUNC != 0 {
		err = errors.New("place: descriptors were cut off: is the limit of open files (ulimit -n) reached?")
	}
	return n, err
}

func (r *fdReader) keep(oob []byte) error {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("place: control message: %w", err)
	}
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return fmt.Errorf("place: control message: %w", err)
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			r.files = append(r.files, os.NewFile(uintptr(fd), "listener"))
		}
	}
	return nil
}

func (r *fdReader) close() {
	for _, f := range r.files {
		f.Close()
	}
	r.files = nil
}
