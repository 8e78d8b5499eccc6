package comm

import (
	"fmt"
	"maps"
	"math"

	"github.com/pprun/pprun/comm/frame"
)

// An assembler puts messages together that travel as several frames. The zero value is ready.
type assembler struct {
	parts map[partKey][]byte
}

type partKey struct {
	kind     frame.Kind
	src, dst uint32
	id       uint64
}

// add takes a frame. With the last one of a message it returns the whole, lent or given as port.send has it.
func (a *assembler) add(h frame.Header, payload []byte) (whole []byte, ok bool, err error) {
	key := partKey{h.Kind, h.Src, h.Dst, h.ID}
	more := h.Flags&frame.More != 0
	part, begun := a.parts[key]
	if !begun && !more {
		return payload, true, nil
	}
	longest := inlineLen + taskHeadLen + math.MaxUint16 // head, options
	if h.Kind == kindMessage {
		longest = maxLen
	}
	if len(part)+len(payload) > longest {
		return nil, false, fmt.Errorf("a message of kind %d from rank %d is longer than %d bytes", h.Kind, h.Src, longest)
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
	return part, true, nil
}

// drop forgets an unfinished message.
func (a *assembler) drop(kind frame.Kind, src, dst uint32, id uint64) {
	delete(a.parts, partKey{kind, src, dst, id})
}

// dropAll forgets the unfinished messages of a kind from a rank.
func (a *assembler) dropAll(kind frame.Kind, src uint32) {
	maps.DeleteFunc(a.parts, func(k partKey, _ []byte) bool { return k.kind == kind && k.src == src })
}
