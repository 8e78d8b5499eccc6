package comm

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// taskOptions are what hub and runner must know of a task beside its function and argument. They travel between the
// task's head and its argument, as CBOR made once for all tasks submitted with the same options. Most tasks have none.
type taskOptions struct {
	Priority  int           `cbor:",omitempty"`
	Retries   int           `cbor:",omitempty"` // times it runs again after an error of its own
	MaxLost   int           `cbor:",omitempty"` // ranks it may lose before it fails; 0: the default
	Timeout   time.Duration `cbor:",omitempty"`
	KillAfter time.Duration `cbor:",omitempty"`
	Ranks     []int         `cbor:",omitempty"` // that may run it; none: any
	Node      int           `cbor:",omitempty"` // whose ranks may run it: index + 1; 0: any
}

// encode returns the options as they travel: nothing, if none is set.
func (o *taskOptions) encode() ([]byte, error) {
	b, err := cborEnc.Marshal(o)
	switch {
	case err != nil:
		return nil, err
	case len(b) == 1: // an empty map
		return nil, nil
	case len(b) > math.MaxUint16:
		return nil, fmt.Errorf("comm: the options of a task take %d bytes, at most %d: name fewer ranks", len(b), math.MaxUint16)
	}
	return b, nil
}

// An optionCache decodes options, of which a program uses few different ones, many times.
type optionCache struct {
	mu      sync.Mutex
	decoded map[string]*taskOptions
}

// maxOptions bounds the cache: who makes new options for each task does not fill the memory.
const maxOptions = 1024

// noOptions is what most tasks have.
var noOptions = new(taskOptions)

func (c *optionCache) get(b []byte) (*taskOptions, error) {
	if len(b) == 0 {
		return noOptions, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if o, ok := c.decoded[string(b)]; ok {
		return o, nil
	}
	o := new(taskOptions)
	if err := cborDec.Unmarshal(b, o); err != nil {
		return nil, fmt.Errorf("the options of a task: %w", err)
	}
	if c.decoded == nil || len(c.decoded) >= maxOptions {
		c.decoded = make(map[string]*taskOptions)
	}
	c.decoded[string(b)] = o
	return o, nil
}

// split parses a task: its head, its options and its argument.
func (c *optionCache) split(payload []byte) (h taskHead, o *taskOptions, arg []byte, err error) {
	if len(payload) < taskHeadLen {
		return h, nil, nil, fmt.Errorf("a task of %d bytes", len(payload))
	}
	h = parseTaskHead(payload)
	rest := payload[taskHeadLen:]
	if int(h.options) > len(rest) {
		return h, nil, nil, fmt.Errorf("a task of %d bytes, of which %d are options", len(payload), h.options)
	}
	o, err = c.get(rest[:h.options])
	return h, o, rest[h.options:], err
}
