package launch

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
)

// Plan returns where Run would put the ranks, and the warning it would give. It connects to the nodes only where their
// CPUs decide; where they do not, Slots may be unknown (0). The status and error of a failure are those of Run.
func Plan(ctx context.Context, c Config) (p Placement, status int, err error) {
	c.StdinTo, c.Report = StdinNone, ""
	j := newJob(ctx, c)
	if !j.plan() {
		status, err = j.end()
		return p, status, err
	}
	if j.known {
		p, warning, err := mapRanks(j.capacities(), j.Request)
		if warning != "" {
			j.warn("%s", warning)
		}
		status, _ := j.end()
		return p, status, err
	}
	if j.launch() {
		j.place()
	}
	status, err = j.end()
	return j.placement, status, err
}

// WriteTable prints a placement for people.
func (p *Placement) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RANK\tHOST\tLOCAL\tSLOTS")
	for rank, n := range p.NodeOf {
		slots := "?"
		if p.Slots[rank] > 0 {
			slots = strconv.Itoa(p.Slots[rank])
		}
		fmt.Fprintf(t, "%d\t%s\t%d\t%s\n", rank, p.Hosts[n], p.LocalRank[rank], slots)
	}
	return t.Flush()
}

// WriteJSON prints a placement for programs: an object with size, nodes and one entry for each rank. Slots that only a
// node itself knows are 0.
func (p *Placement) WriteJSON(w io.Writer) error {
	type rank struct {
		Rank      int    `json:"rank"`
		Host      string `json:"host"`
		Node      int    `json:"node"`
		LocalRank int    `json:"local_rank"`
		Slots     int    `json:"slots"`
	}
	all := struct {
		Size  int      `json:"size"`
		Nodes []string `json:"nodes"`
		Ranks []rank   `json:"ranks"`
	}{p.Size(), p.Hosts, make([]rank, p.Size())}
	for r, n := range p.NodeOf {
		all.Ranks[r] = rank{r, p.Hosts[n], n, p.LocalRank[r], p.Slots[r]}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(all)
}
