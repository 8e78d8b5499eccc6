package agent

import (
	"fmt"
	"sync"

	"github.com/pprun/pprun/comm/place"
)

// deaths are how ranks of the job ended, for rank 0, which runs here and may not have asked for its place yet.
type deaths struct {
	mu   sync.Mutex
	more *sync.Cond
	list []place.Death
	over bool // rank 0 is gone
}

func newDeaths() *deaths {
	d := new(deaths)
	d.more = sync.NewCond(&d.mu)
	return d
}

// add takes a death from the launcher.
func (d *deaths) add(payload []byte) error {
	death, err := Decode[place.Death](payload)
	if err != nil {
		return fmt.Errorf("death: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.over {
		d.list = append(d.list, death)
		d.more.Broadcast()
	}
	return nil
}

// tell passes them on, in a goroutine that ends with done: a rank that reads nothing holds up only that.
func (d *deaths) tell(k *place.Asker) (done func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			death, ok := d.next()
			if !ok || k.Tell(death) != nil {
				return
			}
		}
	}()
	return func() {
		d.mu.Lock()
		d.over, d.list = true, nil
		d.more.Broadcast()
		d.mu.Unlock()
		<-ended
	}
}

// next waits for a death; false: nobody is told any more.
func (d *deaths) next() (death place.Death, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.list) == 0 && !d.over {
		d.more.Wait()
	}
	if d.over {
		return death, false
	}
	death, d.list = d.list[0], d.list[1:]
	return death, true
}
