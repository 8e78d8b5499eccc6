package launch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
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
	rank    int
	host    string
	process *Process // nil: it had none
	how     string
	severed bool     // its link to the hub was given up: that is not its own failure
	stderr  []string // last lines that the user has not seen, since files take the output
	then    string   // what comes of it; may be empty
	thens   string   // the same of many that end alike
	quiet   bool     // nobody misses it
}

// String says who was lost and how.
func (l loss) String() string {
	text := fmt.Sprintf("rank %d on %s", l.rank, l.host)
	if p := l.process; p != nil {
		text += fmt.Sprintf(" (pid %d, after %s%s)", p.PID, lasted(p.Wall), running(p.Tasks))
	}
	return text + ": " + l.how
}

// running names the tasks that a process ran.
func running(tasks []string) string {
	const most = 3
	var names []string
	for _, name := range tasks {
		if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
			name = strconv.Quote(name)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > most {
		names = append(names[:most], "others")
	}
	if names == nil {
		return ""
	}
	return ", running " + strings.Join(names, ", ")
}

// lastWords are further lines, after that about a loss.
func lastWords(stderr []string) string {
	if len(stderr) == 0 {
		return ""
	}
	return "\nthe end of its standard error:\n  " + strings.Join(stderr, "\n  ")
}

// lasted writes a time in seconds as people read it.
func lasted(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
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
		for text := range strings.SplitSeq(l.text, "\n") {
			if l.quiet {
				j.warn("%s", text)
			} else {
				j.say("%s", text)
			}
		}
	}
}

// lossLine is a line about one loss or many, or several lines about one whose last words the user has not seen.
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
			if list[k].how == l.how && list[k].thens == l.thens {
				alike = append(alike, k)
			}
		}
		if len(alike) < foldLosses {
			lines = append(lines, lossLine{join(l.String(), l.then) + lastWords(l.stderr), l.quiet})
			continue
		}
		var ranks []int
		var hosts, tasks []string
		for _, k := range alike {
			done[k] = true
			ranks, hosts = append(ranks, list[k].rank), append(hosts, list[k].host)
			if p := list[k].process; p != nil {
				tasks = append(tasks, p.Tasks...)
			}
		}
		slices.Sort(hosts)
		lines = append(lines, lossLine{join(rankNames(ranks)+" on "+fold(slices.Compact(hosts))+running(tasks)+": "+l.how, l.thens), l.quiet})
	}
	return lines
}

// join says what happened and what comes of it, if anything.
func join(what, then string) string {
	if then == "" {
		return what
	}
	return what + ": " + then
}
