package comm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// A hello is what a link says of itself first.
type hello struct {
	Protocol    int
	Job         string
	Ranks       []helloRank
	Fingerprint []byte // of the registered functions
}

type helloRank struct {
	Rank        int
	Incarnation uint32
	Slots       int
	Role        place.Role // SPMD or Serve
}

// A welcome tells a link that all ranks are in.
type welcome struct {
	Epoch  uint64      // of the membership it tells of
	Slots  []int       // of every rank
	Lost   []LostError // ranks that are lost, if the link comes after the start
	Roster *lists      `cbor:",omitempty"` // if it is not that of the start
}

// A membership tells what has changed since the one before it.
type membership struct {
	Epoch uint64
	Slots []int       // of every rank; 0 where it is lost
	Want  int         `cbor:",omitempty"` // what SetSlots asked for, the last time
	Lost  []LostError `cbor:",omitempty"` // ranks that are lost now
	Back  []int       `cbor:",omitempty"` // and that are back: as a new incarnation, which knows of nothing

	Roster *lists `cbor:",omitempty"` // if it has changed
}

// readCBOR reads a frame of a kind that the reader's limits name.
func readCBOR(r *frame.Reader, kind frame.Kind, v any) error {
	h, payload, err := r.Next()
	switch {
	case err != nil:
		return err
	case h.Kind != kind:
		return fmt.Errorf("a frame of kind %d where one of kind %d is due", h.Kind, kind)
	}
	return cborDec.Unmarshal(payload, v)
}

func appendCBOR(b []byte, kind frame.Kind, v any) ([]byte, error) {
	payload, err := cborEnc.Marshal(v)
	if err != nil {
		return nil, err
	}
	return frame.Append(b, frame.Header{Kind: kind}, payload), nil
}

// check says why a hello cannot be welcome, but for its fingerprint. allowed says which ranks the link has proved to be.
func (h *hello) check(job string, size int, allowed func(rank int) bool) error {
	switch {
	case h.Protocol != protocol:
		return fmt.Errorf("protocol %d, the hub speaks %d: build the program anew", h.Protocol, protocol)
	case h.Job != job:
		return fmt.Errorf("it is of job %.40q, this is job %q", h.Job, job)
	case len(h.Ranks) == 0:
		return errors.New("it names no rank")
	}
	seen := make(map[int]bool)
	for _, r := range h.Ranks {
		switch {
		case r.Rank <= 0 || r.Rank >= size || seen[r.Rank]:
			return fmt.Errorf("it claims rank %d of %d", r.Rank, size)
		case !allowed(r.Rank):
			return fmt.Errorf("it claims rank %d, which its certificate does not name", r.Rank)
		case r.Role != place.SPMD && r.Role != place.Serve:
			return fmt.Errorf("it says that rank %d is %v", r.Rank, r.Role)
		case r.Slots < 0 || r.Slots > 1<<16:
			return fmt.Errorf("it claims %d slots", r.Slots)
		}
		seen[r.Rank] = true
	}
	return nil
}

func (h *hello) matches(fns []signature) bool { return bytes.Equal(h.Fingerprint, fingerprint(fns)) }
