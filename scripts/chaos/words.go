package main

import (
	"regexp"
	"strings"
)

// remark is a line of pprun that is no reason for the end of a job: news of its ranks, what the agent here says of a
// launcher that was stopped, and what continues another line.
var remark = regexp.MustCompile(`^pprun: (connecting to |waiting for the agent on |\S+ are one machine: |rank \d+ waits in Init for |ranks? .* (is|are) stopped|ranks? .* go(es)? on$|` +
	`.*: (its|their) tasks are redone|.*: its work was done|.*through pprun|.*before all had joined|rank 0: the hub turns away |agent on head: the launcher is silent|  )`)

// unsure is what pprun says when its job is over and a host does not answer any more.
var unsure = regexp.MustCompile(`^pprun: \S+: did not confirm that nothing is left there`)

// reasons are the lines by which pprun says why a job has failed.
func reasons(stderr string) (found []string) {
	for line := range strings.SplitSeq(stderr, "\n") {
		if strings.HasPrefix(line, "pprun: ") && !remark.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}
