package comm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// How a rank is asked what it does: another one, through the hub, or rank 0 for all:
//
//	asker -> rank   ask     (id: the question; one byte: askRank or askJob)
//	rank  -> asker  answer  (id: the same; text)
//
// A rank answers for itself from its reader, so that one which does not answer is not there, or has its hands full.
const (
	askRank byte = iota
	askJob
)

const (
	answerWithin = time.Second                           // a rank is asked no longer
	maxAnswer    = 32 << 10                              // bytes of an answer
	maxNamed     = 8                                     // things of a kind that are named one by one
	answerJob    = 2*answerWithin + 500*time.Millisecond // rank 0 is asked for all no longer
)

// Explain says in words, some lines of them, what the job does and what it waits for: how many tasks wait for which ranks
// and since when, what each rank runs, which ranks are lost and whether they may come back, which do not answer. It is
// for people, when a Get or a Wait takes longer than they thought. It takes up to some seconds where ranks do not answer.
func (c *Comm) Explain() string {
	if c.rank == 0 {
		return c.explainJob()
	}
	question, answers := c.questions.begin(1)
	defer c.questions.end(question)
	c.ask(0, question, askJob)
	select {
	case a := <-answers:
		return a.text
	case <-c.broken:
	case <-time.After(answerJob):
	}
	return fmt.Sprintf("rank 0 (%s), which has the hub, does not answer\n%s", c.nodeName(0), c.explainRank())
}

// explainQuit is what a rank says for itself where all ranks are asked: rank 0 adds what the hub knows.
func (c *Comm) explainQuit() string {
	if c.rank == 0 {
		return c.explainJob()
	}
	return c.explainRank()
}

// ask asks a rank.
func (c *Comm) ask(rank int, question uint64, what byte) {
	c.up.send(askHeader(kindAsk, c.rank, rank, question), []byte{what})
	c.up.flush()
}

// asked answers. It never blocks: what takes time is done by another goroutine, one for all who ask meanwhile.
func (c *Comm) asked(from int, question uint64, what []byte) {
	if len(what) == 1 && what[0] == askJob && c.rank == 0 {
		c.questions.later(func() { c.answer(from, question, c.explainJob()) })
		return
	}
	c.answer(from, question, c.explainRank())
}

func (c *Comm) answer(to int, question uint64, text string) {
	c.up.send(askHeader(kindAnswer, c.rank, to, question), []byte(text[:min(len(text), maxAnswer)]))
	c.up.nudge()
}

// explainJob is Explain of rank 0: what the hub knows, and what the ranks say themselves.
func (c *Comm) explainJob() string {
	p, ok := c.up.(hubPort)
	if !ok {
		return c.explainRank()
	}
	present := p.hub.presentRanks()
	question, answers := c.questions.begin(len(present))
	defer c.questions.end(question)
	for _, rank := range present {
		c.ask(rank, question, askRank)
	}
	texts := map[int]string{0: c.explainRank()}
	limit := time.After(answerWithin)
	for silent := false; !silent && len(texts) <= len(present); {
		select {
		case a := <-answers:
			texts[a.rank] = a.text
		case <-limit:
			silent = true
		case <-c.broken:
			silent = true
		}
	}
	var b strings.Builder
	c.mu.Lock()
	if c.err != nil {
		fmt.Fprintf(&b, "the job is over: %v\n", c.err)
	}
	c.mu.Unlock()
	p.hub.explain(&b)
	for rank := range c.Size() {
		switch text, answered := texts[rank]; {
		case answered:
			b.WriteString(text)
		case slices.Contains(present, rank):
			fmt.Fprintf(&b, "rank %d (%s) does not answer: nothing was heard of it for %v\n", rank, c.nodeName(rank), p.hub.silence(rank))
		}
	}
	return b.String()
}

// explainRank says what this rank runs and what it waits for.
func (c *Comm) explainRank() string {
	var b strings.Builder
	name := fmt.Sprintf("rank %d (%s)", c.rank, c.nodeName(c.rank))
	runs, behind, slots := c.server.explain()
	fmt.Fprintf(&b, "%s runs %s on %s", name, number(len(runs), "task"), number(slots, "slot"))
	if behind > 0 {
		fmt.Fprintf(&b, ", %d behind them", behind)
	}
	b.WriteString("\n")
	for _, r := range runs[:min(len(runs), maxNamed)] {
		fmt.Fprintf(&b, "  %s\n", r)
	}
	if more := len(runs) - maxNamed; more > 0 {
		fmt.Fprintf(&b, "  and %d more\n", more)
	}
	receives := c.mail.explain()
	for _, r := range receives[:min(len(receives), maxNamed)] {
		fmt.Fprintf(&b, "%s waits for %s\n", name, r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == 0 {
		return b.String()
	}
	waiting := make(map[string]int)
	for k := range c.calls.all {
		if k.state.Load()&gone == 0 {
			waiting[k.fn.name]++
		}
	}
	fmt.Fprintf(&b, "%s waits for %s that it submitted: %s\n", name, number(c.live, "task"), listed(waiting))
	if c.room != nil {
		fmt.Fprintf(&b, "%s has as many tasks or bytes waiting as it may have: Submit waits for room\n", name)
	}
	return b.String()
}

// explain says what the server runs, longest first, how many runs wait behind, and how many slots there are.
func (s *server) explain() (runs []string, behind, slots int) {
	type run struct {
		since time.Duration
		text  string
	}
	var all []run
	s.mu.Lock()
	ts := slices.Clone(s.runs)
	slots = s.slots
	s.mu.Unlock()
	for _, t := range ts {
		if t == nil {
			continue
		}
		if since, text, running := t.explain(); running {
			all = append(all, run{since, text})
		} else {
			behind++
		}
	}
	slices.SortFunc(all, func(a, b run) int { return cmp.Compare(a.since, b.since) })
	for _, r := range all {
		runs = append(runs, r.text)
	}
	return runs, behind, slots
}

// explain says what a task that is running does, and when it was begun.
func (t *running) explain() (since time.Duration, text string, running bool) {
	began, ended, running := t.life.running()
	if !running {
		return 0, "", false
	}
	text = fmt.Sprintf("%s of rank %d for %v", t.comm.fns[t.fn].name, t.src, age(began))
	if !t.slot.TryLock() {
		text += ", waiting for a slot to go on"
	} else {
		if t.waits > 0 {
			text += ", waiting for other tasks"
		}
		t.slot.Unlock()
	}
	if ended != notEnded {
		text += ", though its context has ended"
	}
	return began, text, true
}

// explain says what waits at the hub and why.
func (h *hub) explain(b *strings.Builder) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock = 0
	waiting := make(map[*pool]map[string]int)
	oldest := make(map[*pool]time.Duration)
	running, total := 0, 0
	for _, m := range h.members {
		running += m.runs.len()
		for _, t := range m.submitted {
			if t == nil || t.on != waits {
				continue
			}
			total++
			if waiting[t.pool] == nil {
				waiting[t.pool] = make(map[string]int)
				oldest[t.pool] = t.queued
			}
			waiting[t.pool][h.fns[t.fn()].name]++
			oldest[t.pool] = min(oldest[t.pool], t.queued)
		}
	}
	fmt.Fprintf(b, "the hub has %s: %d with ranks, %d waiting\n", number(running+total, "task"), running, total)
	pools := slices.SortedFunc(maps.Keys(waiting), func(x, y *pool) int { return cmp.Compare(oldest[x], oldest[y]) })
	for _, p := range pools[:min(len(pools), maxNamed)] {
		fmt.Fprintf(b, "  %s: the first for %v; %s\n", listed(waiting[p]), age(oldest[p]), h.why(p))
	}
	for _, m := range h.members {
		if m.away {
			fmt.Fprintf(b, "%s\n", h.whereabouts(m))
		}
		if m.lost != nil {
			hope := "it may come back"
			if m.final {
				hope = "it will not come back"
			}
			fmt.Fprintf(b, "%v; %s\n", strings.TrimPrefix(m.lost.Error(), "comm: "), hope)
		}
	}
}

// why says why the tasks of a pool wait.
func (h *hub) why(p *pool) string {
	who := "any rank"
	if !p.any {
		var ranks []string
		for _, m := range p.ranks[:min(len(p.ranks), maxNamed)] {
			ranks = append(ranks, fmt.Sprint(m.rank))
		}
		if len(p.ranks) > maxNamed {
			ranks = append(ranks, "..")
		}
		who = "rank " + strings.Join(ranks, ", ")
	}
	slots, lost := 0, 0
	for _, m := range p.ranks {
		if m.lost != nil {
			lost++
			continue
		}
		slots += m.slots
	}
	switch {
	case lost == len(p.ranks):
		return fmt.Sprintf("they are for %s, lost and not back yet", who)
	case slots == 0 && p.any:
		return fmt.Sprintf("they are for %s, and no rank has a slot", who)
	}
	return fmt.Sprintf("they are for %s, with %s, none free", who, number(max(1, slots), "slot"))
}

// presentRanks returns the ranks above 0 that are not lost.
func (h *hub) presentRanks() (ranks []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members[1:] {
		if m.lost == nil {
			ranks = append(ranks, m.rank)
		}
	}
	return ranks
}

// silence returns for how long nothing was heard of a rank.
func (h *hub) silence(rank int) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.members[rank].link; l != nil {
		return age(time.Duration(l.heard.Load()))
	}
	return 0
}

func age(since time.Duration) time.Duration {
	return uptime().Round(time.Second) - since.Round(time.Second)
}

func number(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// listed lists how many there are of what, the most first.
func listed(counts map[string]int) string {
	names := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		return cmp.Or(-cmp.Compare(counts[x], counts[y]), cmp.Compare(x, y))
	})
	var parts []string
	for _, name := range names[:min(len(names), maxNamed)] {
		parts = append(parts, fmt.Sprintf("%d of %s", counts[name], name))
	}
	if more := len(names) - maxNamed; more > 0 {
		parts = append(parts, fmt.Sprintf("those of %d more functions", more))
	}
	return strings.Join(parts, ", ")
}
