package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/launch/door"
)

// report is what a server says of itself to a client that asks.
type report struct {
	Address string         `json:"address"`
	Key     string         `json:"key"`
	Uptime  float64        `json:"uptime"` // seconds
	Slots   int            `json:"slots"`
	Logins  int            `json:"logins"`
	Refused int            `json:"refused"`
	Clients []clientReport `json:"clients"` // oldest first
	Cache   agent.Usage    `json:"cache"`
}

// clientReport is one client of a server.
type clientReport struct {
	Address string  `json:"address"`
	Key     string  `json:"key"`
	Since   float64 `json:"since"` // seconds that it has been there
	Job     string  `json:"job,omitempty"`
	Program string  `json:"program,omitempty"`
	SHA256  string  `json:"sha256,omitempty"`
	Ranks   int     `json:"ranks"` // that run
}

// report makes it.
func (s *server) report() report {
	r := report{Address: s.listener.Addr().String(), Key: s.key, Uptime: time.Since(s.began).Seconds(), Slots: s.workers, Clients: []clientReport{}}
	r.Cache = agent.CacheUsage(s.user.lookup, s.user.uid())
	s.refused.mu.Lock()
	r.Refused = s.refused.all
	s.refused.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Logins = s.logins
	for c := range s.sessions {
		r.Clients = append(r.Clients, clientReport{c.from, c.client.Name, time.Since(c.began).Seconds(), c.job.Job, c.job.Program, c.job.SHA256, c.job.running})
	}
	slices.SortFunc(r.Clients, func(a, b clientReport) int {
		return cmp.Or(cmp.Compare(b.Since, a.Since), strings.Compare(a.Address, b.Address))
	})
	return r
}

// answer sends it to a client that has logged in to ask.
func (s *server) answer(conn *tls.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(lastWords))
	json.NewEncoder(conn).Encode(s.report())
}

// table is the statistics.
func (s *server) table() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	running := 0
	for c := range s.sessions {
		running += c.job.running
	}
	return s.stats.table(time.Since(s.began), running, s.workers)
}

// patience is how long a server may take to answer before a word is said about it.
const patience = 3 * time.Second

// status asks the server at an address, or the one that was started with the same options, and prints what it says.
func status(o *options) error {
	ring, err := o.keyring()
	if err != nil {
		return err
	}
	var address string
	if len(o.args) > 0 {
		address = withPort(o.args[0], o.port)
	} else if address, err = chooseAddress(o, ring.Admits()); err != nil {
		return err
	}
	slow := time.AfterFunc(patience, func() { fmt.Fprintf(os.Stderr, "ppserver: connecting to %s\n", address) })
	b, err := door.Ask(context.Background(), address, ring)
	slow.Stop()
	if err != nil {
		return fmt.Errorf("no answer from a ppserver at %s: %w", address, err)
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("the answer from %s is no report: %w", address, err)
	}
	if o.json {
		_, err = os.Stdout.Write(b)
		return err
	}
	return r.write(os.Stdout)
}

// write writes a report for people.
func (r *report) write(w io.Writer) error {
	used := 0
	for _, c := range r.Clients {
		used += c.Ranks
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "ppserver on %s, up %s, key %s\n", shown(r.Address), short(r.Uptime), shown(r.Key))
	fmt.Fprintf(t, "slots: %d, %d in use, %d free\n", r.Slots, used, max(0, r.Slots-used))
	fmt.Fprintf(t, "clients: %d now, %d since the start, %d refused\n", len(r.Clients), r.Logins, r.Refused)
	for _, c := range r.Clients {
		program := shown(c.Program)
		if c.SHA256 != "" {
			program += " (sha256 " + shown(c.SHA256[:min(12, len(c.SHA256))]) + ")"
		}
		fmt.Fprintf(t, "  %s\t%s\tfor %s\tranks: %d\t%s\n", shown(c.Address), shown(c.Key), short(c.Since), c.Ranks, program)
	}
	if r.Cache.Path != "" {
		fmt.Fprintf(t, "cache: %s, %.1f MB, in %s\n", plural(r.Cache.Programs, "program"), float64(r.Cache.Bytes)/1e6, shown(r.Cache.Path))
	}
	return t.Flush()
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func short(seconds float64) string { return (time.Duration(seconds) * time.Second).String() }

// shown is text of others without what could command a terminal.
func shown(s string) string {
	if q := strconv.QuoteToGraphic(s); q != `"`+s+`"` {
		return q
	}
	return s
}
