package launch

import (
	"fmt"
	"slices"
	"time"
)

// losses are what the user is told of ranks that are lost while the job goes on: one line for each, or one for many that
// end alike at a time.
type losses struct {
	list []loss
	at   <-chan time.Time // they are told; nil: there are none
}

// gatherLosses is how long the first one waits for others.
const gatherLosses = 200 * time.Millisecond

// foldLosses is how many alike become one line.
const foldLosses = 4

// loss is the end of a rank that does not end the job.
type loss struct {
	rank   int
	host   string
	pid    int // 0: it had no process
	how    string
	again  string // it is started again, for that many times; empty: it is not
	then   string // what follows else
	counts bool   // it is a failure of the job: its tasks, if there were any, are not redone
	quiet  bool   // nobody misses it
}

// String says who was lost and how.
func (l loss) String() string {
	text := fmt.Sprintf("rank %d on %s", l.rank, l.host)
	if l.pid != 0 {
		text += fmt.Sprintf(" (pid %d)", l.pid)
	}
	return text + ": " + l.how
}

// outcome says what comes of it, in the singular or plural.
func (l loss) outcome(many bool) string {
	whose := "its"
	if many {
		whose = "their"
	}
	switch {
	case l.again != "" && many:
		return ": their tasks are redone, started again"
	case l.again != "":
		return ": its tasks are redone, started again " + l.again
	case l.counts && l.then == "":
		return ""
	case l.counts:
		return ": " + l.then
	case l.then != "":
		return ": " + whose + " tasks are redone elsewhere, " + l.then
	}
	return ": " + whose + " tasks are redone elsewhere"
}

// tell has a loss told soon.
func (j *job) tell(l loss) {
	if len(j.losses.list) == 0 {
		j.losses.at = time.After(gatherLosses)
	}
	j.losses.list = append(j.losses.list, l)
}

// tellLosses tells what has gathered.
func (j *job) tellLosses() {
	list := j.losses.list
	j.losses = losses{}
	for _, l := range lossLines(list) {
		if l.quiet {
			j.warn("%s", l.text)
		} else {
			j.say("%s", l.text)
		}
	}
}

// lossLine is a line about one loss or many.
type lossLine struct {
	text  string
	quiet bool // it is no error: --quiet hides it
}

// lossLines makes lines of losses, in the order in which the first of each came.
func lossLines(list []loss) (lines []lossLine) {
	done := make([]bool, len(list))
	for i, l := range list {
		if done[i] {
			continue
		}
		var alike []int
		for k := i; k < len(list); k++ {
			if list[k].how == l.how && list[k].outcome(true) == l.outcome(true) {
				alike = append(alike, k)
			}
		}
		if len(alike) < foldLosses {
			lines = append(lines, lossLine{l.String() + l.outcome(false), l.quiet})
			continue
		}
		var ranks []int
		var hosts []string
		for _, k := range alike {
			done[k] = true
			ranks, hosts = append(ranks, list[k].rank), append(hosts, list[k].host)
		}
		slices.Sort(hosts)
		text := rankNames(ranks) + " on " + fold(slices.Compact(hosts)) + ": " + l.how + l.outcome(true)
		lines = append(lines, lossLine{text, l.quiet})
	}
	return lines
}
