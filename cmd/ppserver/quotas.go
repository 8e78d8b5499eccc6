package main

import (
	"fmt"

	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/launch/door"
	"github.com/spf13/pflag"
)

// quotas are what clients may have. Zero: as much as they like.
type quotas struct {
	clients int // at a time
	perKey  int // of one key, or let in by the secret
	memory  size
	count   bool // the user has said how many processes
	agent.Quotas
}

// Defaults that leave room for all that is meant, and none for what runs away.
const (
	maxClients   = 64
	maxPerKey    = 16
	maxRanks     = 256 // or the CPUs, if there are more
	maxUpload    = 1 << 30
	maxProcesses = 4096 // where control groups count them
	minProcesses = 64
)

func (q *quotas) flags(f *pflag.FlagSet) {
	f.IntVar(&q.clients, "max-clients", maxClients, "")
	f.IntVar(&q.perKey, "max-per-key", maxPerKey, "")
	f.IntVar(&q.Ranks, "max-ranks", maxRanks, "")
	q.Upload = maxUpload
	f.Var((*size)(&q.Upload), "max-upload", "")
	f.Var((*size)(&q.File), "max-file", "")
	f.IntVar(&q.Processes, "max-processes", maxProcesses, "")
	f.Var(&q.memory, "max-memory", "")
	f.DurationVar(&q.Time, "max-time", 0, "")
}

// check refuses what cannot be meant.
func (q *quotas) check() error {
	for name, n := range map[string]int{"max-clients": q.clients, "max-per-key": q.perKey, "max-ranks": q.Ranks, "max-processes": q.Processes} {
		if n < 0 {
			return usagef("--%s %d: want a number, 0 for no limit", name, n)
		}
	}
	if q.Processes > 0 && q.Processes < minProcesses {
		return usagef("--max-processes %d: want at least %d: its agent has some, too", q.Processes, minProcesses)
	}
	if q.Time < 0 {
		return usagef("--max-time %v: want a time such as 90s or 12h", q.Time)
	}
	return nil
}

// room says whether one more client of a key may come.
func (s *server) room(who door.Client) error {
	same := 0
	for c := range s.sessions {
		if c.client.Name == who.Name {
			same++
		}
	}
	switch {
	case s.clients > 0 && len(s.sessions) >= s.clients:
		return fmt.Errorf("%d clients are there already, and it takes no more (--max-clients): try again later", s.clients)
	case s.perKey > 0 && same >= s.perKey:
		return fmt.Errorf("%d of the same key are there already, and it takes no more (--max-per-key): try again later", s.perKey)
	}
	return nil
}

// size is a flag for a number of bytes.
type size int64

func (s *size) Set(text string) error {
	n, err := agent.ParseSize(text)
	*s = size(n)
	return err
}

func (s *size) String() string { return fmt.Sprint(int64(*s)) }
func (s *size) Type() string   { return "size" }
