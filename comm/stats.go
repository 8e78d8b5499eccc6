package comm

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

// Stats says what became of the tasks that this rank submitted.
type Stats struct {
	Elapsed time.Duration `json:"elapsed"` // since the rank joined
	Active  int           `json:"active"`  // tasks submitted and not ended
	Slots   int           `json:"slots"`   // of the job
	Nodes   []NodeStats   `json:"nodes"`
}

// NodeStats says what the ranks of one machine did of it.
type NodeStats struct {
	Name  string        `json:"name"`
	Tasks int           `json:"tasks"`
	Time  time.Duration `json:"time"` // sum of the times they ran
}

type nodeStats struct {
	tasks int
	ran   time.Duration
}

// Stats returns the statistics of the tasks that this rank submitted.
func (c *Comm) Stats() Stats {
	s := Stats{Elapsed: time.Since(c.since), Slots: c.Slots()}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Active = c.calls.len()
	for i, n := range c.stats {
		s.Nodes = append(s.Nodes, NodeStats{Name: c.nodes[i], Tasks: n.tasks, Time: n.ran})
	}
	return s
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
