package comm

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"
)

// Stats says what became of the tasks that this rank submitted. An element of a chunk counts as a task; canceled tasks
// count for nothing, nor do tasks before their results are here.
type Stats struct {
	Elapsed   time.Duration   `json:"elapsed"` // since the rank joined
	Active    int             `json:"active"`  // tasks submitted and not ended
	Slots     int             `json:"slots"`   // of the job
	Nodes     []NodeStats     `json:"nodes"`
	Ranks     []RankStats     `json:"ranks"`
	Functions []FunctionStats `json:"functions"`         // those that had tasks, by name
	Dropped   int             `json:"dropped,omitempty"` // results that came late or twice, from any rank; known to rank 0
}

// NodeStats says what the ranks of one machine did of it.
type NodeStats struct {
	Name  string        `json:"name"`
	Tasks int           `json:"tasks"`
	Time  time.Duration `json:"time"` // sum of the times they ran and did not wait for other tasks
}

// RankStats says what a rank did of it.
type RankStats struct {
	Rank  int           `json:"rank"`
	Node  string        `json:"node"`
	Tasks int           `json:"tasks"`
	Time  time.Duration `json:"time"`
	Busy  float64       `json:"busy"` // share of Elapsed that its slots, as many as it has now, ran these tasks: 1 is all
}

// FunctionStats says what became of the tasks of a function.
type FunctionStats struct {
	Name     string `json:"name"`
	Tasks    int    `json:"tasks"`
	Failures int    `json:"failures"` // of Tasks
	Reruns   int    `json:"reruns"`   // of tasks that had failed, or whose rank was lost, before
	Retries  int    `json:"retries"`  // reruns after a failure, of tasks of all ranks; known to rank 0
	Lost     int    `json:"lost"`     // runs that ended with the loss of a rank, of tasks of all ranks; known to rank 0
	Bytes    int64  `json:"bytes"`    // of arguments and results

	Queued Spread `json:"queued"` // time at the hub before the last run; of a chunk once
	Ran    Spread `json:"ran"`    // time of the last run, without waiting for other tasks
}

// Spread says how durations are distributed. All but Max are exact to an eighth.
type Spread struct {
	P50 time.Duration `json:"p50"`
	P95 time.Duration `json:"p95"`
	Max time.Duration `json:"max"`
}

func (h *histogram) spread() Spread { return Spread{h.quantile(0.5), h.quantile(0.95), h.max} }

// tally counts what the tasks of a function came to, of those this rank submitted.
type tally struct {
	tasks, failures, reruns int
	bytes                   int64
	queued, ran             histogram
}

// rankTally does so for a rank that ran them.
type rankTally struct {
	tasks int
	ran   time.Duration
}

// hubTally counts what the hub knows of a function, of the tasks of all ranks.
type hubTally struct{ retries, lost int }

// count counts a call that has ended on a rank. c.mu is held.
func (c *Comm) count(k *call, body []byte) {
	head := parseResultHead(k.head[:])
	if head.status >= statusLost {
		return
	}
	t := c.tallies[k.fn.index]
	if t == nil {
		t = new(tally)
		c.tallies[k.fn.index] = t
	}
	t.bytes += int64(k.size) + int64(len(body))
	t.queued.add(head.queued)
	tasks := 1
	if k.flags&flagChunk != 0 && head.status == statusOK && checkChunkResult(body, maxChunk) == nil {
		tasks = chunkRan(body)
		for rest := body[chunkRanLen:]; len(rest) > 0; {
			var h resultHead
			h, _, rest = cutChunkResult(rest)
			t.add(h)
		}
	} else {
		t.add(head)
	}
	r := &c.ranTasks[k.rank]
	r.tasks += tasks
	r.ran += head.ran
}

func (t *tally) add(h resultHead) {
	t.tasks++
	t.reruns += int(h.attempt)
	if h.status != statusOK {
		t.failures++
	}
	t.ran.add(h.ran)
}

// Stats returns the statistics of the tasks that this rank submitted.
func (c *Comm) Stats() Stats {
	hub, dropped := c.hubTallies()
	s := Stats{Elapsed: time.Since(c.since), Slots: c.Slots(), Dropped: dropped}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.ranks.Load()
	for _, name := range all.nodes {
		s.Nodes = append(s.Nodes, NodeStats{Name: name})
	}
	s.Active = c.live
	for rank, t := range c.ranTasks {
		n := &s.Nodes[all.node[rank]]
		n.Tasks += t.tasks
		n.Time += t.ran
		r := RankStats{Rank: rank, Node: n.Name, Tasks: t.tasks, Time: t.ran}
		if room := s.Elapsed.Seconds() * float64(c.slots[rank]); room > 0 {
			r.Busy = t.ran.Seconds() / room
		}
		s.Ranks = append(s.Ranks, r)
	}
	for i, t := range c.tallies {
		if t == nil {
			continue
		}
		f := FunctionStats{
			Name: c.fns[i].name, Tasks: t.tasks, Failures: t.failures, Reruns: t.reruns, Bytes: t.bytes,
			Queued: t.queued.spread(), Ran: t.ran.spread(),
		}
		if hub != nil {
			f.Retries, f.Lost = hub[i].retries, hub[i].lost
		}
		s.Functions = append(s.Functions, f)
	}
	return s
}

// hubTallies returns what the hub counts, nil on ranks above 0.
func (c *Comm) hubTallies() (tallies []hubTally, dropped int) {
	p, ok := c.up.(hubPort)
	if !ok {
		return nil, 0
	}
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	return slices.Clone(p.hub.tallies), p.hub.late
}

// WriteStats writes the statistics as the table of Parallel Python's print_stats; nodes without tasks are left out.
func (c *Comm) WriteStats(w io.Writer) error {
	s := c.Stats()
	total := 0
	for _, n := range s.Nodes {
		total += n.Tasks
	}
	var b bytes.Buffer
	b.WriteString("Job execution statistics:\n job count | % of all jobs | job time sum | time per job | job server\n")
	for _, n := range s.Nodes {
		if n.Tasks > 0 {
			sum := n.Time.Seconds()
			fmt.Fprintf(&b, "    %6d |        %6.2f |     %8.4f |  %11.6f | %s\n",
				n.Tasks, 100*float64(n.Tasks)/float64(total), sum, sum/float64(n.Tasks), n.Name)
		}
	}
	fmt.Fprintf(&b, "Time elapsed since server creation %v\n%d active tasks, %d cores\n", s.Elapsed.Seconds(), s.Active, s.Slots)
	_, err := w.Write(b.Bytes())
	return err
}
