package comm

import (
	"fmt"
	"math"

	"github.com/pprun/pprun/comm/frame"
)

// An assembler puts messages together that travel as several frames. The zero value is ready.
type assembler struct {
	parts      map[partKey][]byte
	unfinished map[uint32]int // bytes of the tasks or results in parts, by the rank they come from
}

type partKey struct {
	kind     frame.Kind
	src, dst uint32
	id       uint64
}

const (
	maxSent       = inlineLen + taskHeadLen + math.MaxUint16 // bytes of a task or result: head, options, argument
	maxUnfinished = 2 * maxSent                              // of all tasks that a rank has begun to send: links send one after another
)

// add takes a frame. With the last one of a message it returns the whole, lent or given as port.send has it.
func (a *assembler) add(h frame.Header, payload []byte) (whole []byte, ok bool, err error) {
	key := partKey{h.Kind, h.Src, h.Dst, h.ID}
	more := h.Flags&frame.More != 0
	part, begun := a.parts[key]
	if !begun && !more {
		return payload, true, nil
	}
	longest := maxSent
	if h.Kind == kindMessage {
		longest = maxLen
	}
	if len(part)+len(payload) > longest {
		return nil, false, fmt.Errorf("a message of kind %d from rank %d is longer than %d bytes", h.Kind, h.Src, longest)
	}
	if err := a.count(key, len(payload)); err != nil {
		return nil, false, err
	}
	part = append(part, payload...)
	if more {
		if a.parts == nil {
			a.parts = make(map[partKey][]byte)
		}
		a.parts[key] = part
		return nil, false, nil
	}
	delete(a.parts, key)
	return part, true, a.count(key, -len(part))
}

// count keeps the books of what is unfinished. Messages have windows instead.
func (a *assembler) count(key partKey, n int) error {
	if key.kind == kindMessage {
		return nil
	}
	if a.unfinished == nil {
		a.unfinished = make(map[uint32]int)
	}
	a.unfinished[key.src] += n
	if a.unfinished[key.src] > maxUnfinished {
		return fmt.Errorf("rank %d has begun to send more than %d bytes and finished none", key.src, maxUnfinished)
	}
	return nil
}

// drop forgets an unfinished message.
func (a *assembler) drop(kind frame.Kind, src, dst uint32, id uint64) {
	key := partKey{kind, src, dst, id}
	if part, ok := a.parts[key]; ok {
		delete(a.parts, key)
		a.count(key, -len(part))
	}
}

// dropAll forgets the unfinished messages of a kind from a rank.
func (a *assembler) dropAll(kind frame.Kind, src uint32) {
	for key := range a.parts {
		if key.kind == kind && key.src == src {
			a.drop(kind, src, key.dst, key.id)
		}
	}
}
