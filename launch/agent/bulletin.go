package agent

import (
	"fmt"
	"sync"

	"github.com/pprun/pprun/comm/place"
)

// bulletin is what rank 0, which runs here and may not have asked for its place yet, is to be told of the others.
type bulletin struct {
	mu   sync.Mutex
	more *sync.Cond
	list []func(*place.Asker) error
	over bool // rank 0 is gone
}

func newBulletin() *bulletin {
	b := new(bulletin)
	b.more = sync.NewCond(&b.mu)
	return b
}

// add takes something that tells it.
func (b *bulletin) add(tell func(*place.Asker) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.list = append(b.list, tell)
		b.more.Broadcast()
	}
}

// death takes a death from the launcher.
func (b *bulletin) death(payload []byte) error {
	death, err := Decode[place.Death](payload)
	if err != nil {
		return fmt.Errorf("death: %w", err)
	}
	b.add(func(k *place.Asker) error { return k.Tell(death) })
	return nil
}

// tell passes all on, in a goroutine that ends with done: a rank that reads nothing holds up only that.
func (b *bulletin) tell(k *place.Asker) (done func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			tell, ok := b.next()
			if !ok || tell(k) != nil {
				return
			}
		}
	}()
	return func() {
		b.mu.Lock()
		b.over, b.list = true, nil
		b.more.Broadcast()
		b.mu.Unlock()
		<-ended
	}
}

// next waits for something to tell; false: nobody is told any more.
func (b *bulletin) next() (tell func(*place.Asker) error, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.list) == 0 && !b.over {
		b.more.Wait()
	}
	if b.over {
		return nil, false
	}
	tell, b.list = b.list[0], b.list[1:]
	return tell, true
}
