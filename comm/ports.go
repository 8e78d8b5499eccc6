package comm

import "github.com/pprun/pprun/comm/frame"

// A hubPort is the way from rank 0 to the hub: a call.
type hubPort struct{ hub *hub }

func (p hubPort) send(f frame.Header, payload []byte) {
	h := p.hub
	m := h.own
	if relayed(f.Kind) {
		to, err := h.relay(f, payload)
		if err != nil {
			panic("comm: " + err.Error()) // SendMessage checks
		}
		if to != nil {
			to.nudge()
		}
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock = 0
	if err := h.receive(m, f, payload); err != nil {
		h.lose(m, err.Error())
	}
}

func (p hubPort) flush() { p.hub.flush() }

func (p hubPort) nudge() {
	if p.hub.urgent.Load() {
		p.hub.flush()
	}
}

// A rankPort is the way from the hub to rank 0: a call.
type rankPort struct{ comm *Comm }

func (p rankPort) send(f frame.Header, payload []byte) {
	if err := p.comm.receive(f, payload); err != nil {
		panic("comm: " + err.Error()) // the hub itself made or checked it
	}
}

func (p rankPort) flush() {}
func (p rankPort) nudge() {}
