package launch

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// meter tells a person at a terminal what goes on: a line that is drawn over while the start takes long, and one when
// all ranks run.
type meter struct {
	terminal bool // standard error is one, and we may write there
	verbose  bool
	hints    int    // words said about it where there is no terminal
	shown    string // the line that stands there
	draw     func(string) (drawn bool)
}

func newMeter(c Config) meter {
	m := meter{verbose: c.Verbose}
	m.terminal = !c.Quiet && term.IsTerminal(int(c.Stderr.Fd())) && !background(c.Stderr)
	m.draw = func(s string) bool {
		if !takes(c.Stderr) {
			return false
		}
		c.Stderr.WriteString(s)
		return true
	}
	return m
}

// takes says whether a terminal takes something at once. One that was stopped, as by Ctrl-S, takes nothing, and would hold
// up whoever writes to it.
func takes(tty *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(tty.Fd()), Events: unix.POLLOUT}}
	n, _ := again(func() (int, error) { return unix.Poll(fds, 0) })
	return n > 0
}

// patience is how long a start may take before a word is said about it.
const patience = 500 * time.Millisecond

// hintAfter is how long nothing may happen before it is said which machines do not answer, where there is no terminal: a
// ppserver answers at once, a login takes time.
func (j *job) hintAfter() time.Duration {
	if slices.ContainsFunc(j.nodes, func(n *node) bool { return n.ready == nil && n.failed == "" && !n.server }) {
		return 5 * time.Second
	}
	return 3 * time.Second
}

// show draws the line, or draws it anew. Where there is no terminal it says once, and much later again, what it waits for.
func (m *meter) show(j *job) {
	if j.asking > 0 || j.starting || j.verdict != nil || time.Since(j.began) < patience {
		return
	}
	if !m.terminal {
		if waits := j.awaited(); waits != "" && time.Since(j.moved) > j.hintAfter()<<(3*m.hints) {
			m.hints++
			j.warn("%s", waits)
		}
		return
	}
	line := "pprun: " + j.progress()
	if width, _, err := term.GetSize(int(j.Stderr.Fd())); err == nil && width > 0 && len(line) >= width {
		line = line[:max(0, width-1)]
	}
	if line != m.shown && m.draw("\r"+line+strings.Repeat(" ", max(0, len(m.shown)-len(line)))) {
		m.shown = line
	}
}

// clear takes the line away, so that something else can be written.
func (m *meter) clear() {
	if m.shown != "" && m.draw("\r"+strings.Repeat(" ", len(m.shown))+"\r") {
		m.shown = ""
	}
}

// up says that all ranks run.
func (m *meter) up(j *job) {
	m.clear()
	if !m.terminal && !m.verbose || j.Quiet {
		return
	}
	var parts []string
	for _, n := range j.members() {
		parts = append(parts, fmt.Sprintf("%s:%d", n.host.Host, len(n.ranks)))
	}
	const most = 8
	if len(parts) > most {
		parts = append(parts[:most:most], "...")
	}
	text := fmt.Sprintf("%s on %s (%s)", count(j.placement.Size(), "rank"), count(len(j.members()), "node"), strings.Join(parts, " "))
	copied, cached := 0, 0
	for _, n := range j.members() {
		switch {
		case n.size == 0:
		case n.cached:
			cached++
		default:
			copied++
		}
	}
	if copied > 0 {
		var size, packed int64
		for _, v := range j.program.variants() {
			if v.spool != nil && v.spool.packedSize() > 0 {
				size += v.spool.size
				packed += v.spool.packedSize()
			}
		}
		text += fmt.Sprintf(", %s -> %s", sizeOf(size), sizeOf(packed))
	}
	if copied+cached > 0 {
		text += fmt.Sprintf(", %d copied %d cached", copied, cached)
	}
	j.say("%s, up in %.2fs", text, time.Since(j.began).Seconds())
}

// progress says how far the start is.
func (j *job) progress() string {
	if j.program == nil || j.placement.Size() == 0 {
		return j.state()
	}
	var sent, total int64
	there, nodes := 0, 0
	for _, n := range j.members() {
		if n.size == 0 {
			continue
		}
		nodes++
		if n.staged > 0 {
			there++
		}
		if !n.cached {
			total += n.size
			sent += n.copied.Load()
		}
	}
	if nodes == 0 {
		return j.state()
	}
	text := fmt.Sprintf("copying %s: %s of %s, %d of %s", j.program.name, sizeOf(sent), sizeOf(total), there, count(nodes, "node"))
	if taken := time.Since(j.began); sent > 0 && sent < total {
		left := time.Duration(float64(taken) * float64(total-sent) / float64(sent))
		text += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	return text
}

// sizeOf writes a size for people.
func sizeOf(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 100_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
