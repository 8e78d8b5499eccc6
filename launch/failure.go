package launch

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/ssh"
)

// A failure is a verdict on the way: an error with an exit status.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

func (f *failure) ExitStatus() int { return f.status }

func failf(status int, format string, args ...any) *failure {
	return &failure{status, fmt.Sprintf(format, args...)}
}

// failed takes in an agent's word that it could not do what it was asked.
func (j *job) failed(n *node, f agent.Failure) {
	text := f.Text
	if f.Fix != "" {
		text += ": " + f.Fix
	}
	text = strings.ReplaceAll(text, " on "+n.host.Host, "") // settle says where, once for all nodes
	if n.late != nil && n.pids == nil {                     // see advance
		n.failed = text
		return
	}
	if n.failed == "" {
		n.failed, n.status = text, cmp.Or(f.Code, StatusFailed)
	}
	// What it has started of its ranks it ends itself; those that never ran will not tell their end.
	j.running -= len(n.running)
	clear(n.running)
	if j.program != nil {
		j.program.leaveAll(n)
	}
	j.noteFailure()
	if j.attending {
		j.settle()
	}
}

// noteFailure starts the moment within which other nodes' failures join the message.
func (j *job) noteFailure() {
	if j.failedAt.IsZero() {
		j.failedAt = time.Now()
	}
}

// settle condemns the job if a node has failed: one block names all of them, the same reason once.
func (j *job) settle() bool {
	hosts := map[string][]string{} // by reason
	var reasons []string           // in the order of the nodes
	status, bad := 0, 0
	for _, n := range j.nodes {
		if n.failed == "" {
			continue
		}
		if hosts[n.failed] == nil {
			reasons = append(reasons, n.failed)
		}
		hosts[n.failed] = append(hosts[n.failed], n.host.Host)
		status = cmp.Or(status, n.status)
		bad++
	}
	switch {
	case bad == 0:
		return j.verdict == nil
	case len(reasons) == 1:
		j.condemn(&verdict{status: status, text: fold(hosts[reasons[0]]) + ": " + reasons[0]})
	default:
		lines := []string{fmt.Sprintf("%d of %s failed:", bad, count(len(j.nodes), "node"))}
		for _, r := range reasons {
			lines = append(lines, "  "+fold(hosts[r])+": "+r)
		}
		j.condemn(&verdict{status: status, text: strings.Join(lines, "\n")})
	}
	return false
}

// nodeError is why a node cannot be reached, without its name: others may have the same reason.
func nodeError(host string, err error) string {
	if e, ok := errors.AsType[*ssh.Error](err); ok {
		text := e.Phase + ": " + e.Err.Error()
		if e.Fix != "" {
			text += ": " + e.Fix
		}
		if errors.Is(err, ssh.ErrUnknownHostKey) {
			text += ", or pass --accept-new"
		}
		return text
	}
	return strings.TrimPrefix(err.Error(), host+": ")
}
