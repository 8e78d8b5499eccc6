package launch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/launch/own"
	"golang.org/x/sys/unix"
)

// Report is the JSON document that Config.Report asks for: the job, its nodes, and the end of every process. Every field
// is always there; times are of pprun's clock, durations in seconds. What is added later leaves these fields alone.
type Report struct {
	Version int       `json:"version"` // of this schema: 1
	Job     string    `json:"job"`     // its id
	Pprun   string    `json:"pprun"`   // its version
	Command []string  `json:"command"` // the program and its arguments
	Start   time.Time `json:"start"`   // of pprun
	Wall    float64   `json:"wall"`
	Status  int       `json:"status"` // exit status of pprun
	Reason  string    `json:"reason"` // why the job was ended, in pprun's words; empty: it ended by itself

	Nodes     []ReportNode `json:"nodes"`
	Processes []*Process   `json:"processes"` // as they were started; last the ranks that are not known to have been
}

// ReportNode is one machine of a job.
type ReportNode struct {
	Host      string `json:"host"`  // as it was given
	Ranks     []int  `json:"ranks"` // that it has
	Failure   string `json:"failure"`
	RootCause bool   `json:"root_cause"` // its loss is why the job has the status that it has
}

// Process is one process of a rank: the first, or one that took the place of another.
type Process struct {
	Rank        int    `json:"rank"`
	Incarnation uint32 `json:"incarnation"` // 0: the first
	Node        int    `json:"node"`        // index into nodes
	Host        string `json:"host"`
	PID         int    `json:"pid"`  // 0: the rank is not known to have started
	Role        string `json:"role"` // plain: does not use comm; spmd: Init, or rank 0 of Main; serve: Main above rank 0

	Start *time.Time `json:"start"` // null: not known
	End   *time.Time `json:"end"`   // null: not known
	Wall  float64    `json:"wall"`

	Exit      *int   `json:"exit"`       // exit status; null: a signal ended it, or it is not known
	Signal    string `json:"signal"`     // that ended it, as SIGKILL
	Core      bool   `json:"core"`       // it left a core
	OOM       bool   `json:"oom"`        // the kernel killed it for want of memory
	OOMLimit  int64  `json:"oom_limit"`  // bytes that its control group could have; 0: not known
	Killed    bool   `json:"killed"`     // pprun had told it to end
	Respawned bool   `json:"respawned"`  // another process took its place
	Orphaned  bool   `json:"orphaned"`   // it had lost its link to rank 0 before
	Lost      string `json:"lost"`       // why nothing is known of its end
	RootCause bool   `json:"root_cause"` // its end is why the job has the status that it has

	User   float64  `json:"user"`
	System float64  `json:"system"`
	MaxRSS int64    `json:"max_rss"` // bytes; where pprun's agent there had more when it started it, that
	Tasks  []string `json:"tasks"`   // functions of the tasks that it ran when rank 0 lost it, at most 8; rank 0's own are not known
	Stderr []string `json:"stderr"`  // the last lines of its standard error, at most 20, at most 4 KiB
}

const (
	reportVersion = 1
	reportLines   = 20
)

// born notes that a process of a rank runs.
func (j *job) born(n *node, rank, pid int) *Process {
	life := &j.lives[rank]
	if life.process != nil {
		life.process.Respawned = true
	}
	now := time.Now().UTC()
	life.process = &Process{
		Rank: rank, Incarnation: life.incarnation, Node: n.index, Host: n.host.Host, PID: pid, Start: &now, Tasks: []string{}, Stderr: []string{},
	}
	j.processes = append(j.processes, life.process)
	return life.process
}

// certify notes how a process of a rank ended.
func (j *job) certify(n *node, e agent.Exit) *Process {
	p := j.lives[e.Rank].process
	if p == nil || p.PID != e.PID { // it was started, but not all were: nobody said so
		p = j.born(n, e.Rank, e.PID)
	}
	end := time.Now().UTC().Add(-e.Ago)
	start := end.Add(-e.Wall)
	p.Start, p.End, p.Wall = &start, &end, e.Wall.Seconds()
	p.Incarnation, p.Role = e.Incarnation, j.lives[e.Rank].role.String()
	if e.Signal == 0 {
		p.Exit = &e.Code
	} else {
		p.Signal = signalName(syscall.Signal(e.Signal))
	}
	p.Core, p.OOM, p.OOMLimit, p.Killed, p.Orphaned = e.Core, e.OOM, e.OOMLimit, e.Killed, e.Orphan
	p.User, p.System, p.MaxRSS = e.User.Seconds(), e.System.Seconds(), e.MaxRSS
	p.Stderr = lastLines(e.Stderr, reportLines)
	return p
}

// ran notes what a process ran when it was lost.
func (j *job) ran(n *node, r place.Ran) {
	if n.index != j.placement.NodeOf[0] { // only rank 0 knows
		return
	}
	for _, p := range slices.Backward(j.processes) {
		if p.Rank == r.Rank && p.Incarnation == r.Incarnation {
			p.Tasks = append(p.Tasks, r.Tasks...)
			return
		}
	}
}

// lastLines are the last lines of text, without one that may have lost its beginning.
func lastLines(text []byte, most int) []string {
	lines := strings.Split(strings.TrimSuffix(strings.ToValidUTF8(string(text), "\ufffd"), "\n"), "\n")
	if len(text) >= agent.StderrLen && len(lines) > 1 {
		lines = lines[1:]
	}
	if len(text) == 0 {
		lines = []string{}
	}
	return lines[max(0, len(lines)-most):]
}

// checkReport says why a report could not be written, before anything runs for which it would be.
func checkReport(name string) error {
	refuse := func(why string) error { return failf(StatusUsage, "--report %s: %s", name, why) }
	if _, err := own.Target(name); err != nil {
		return refuse(err.Error())
	}
	switch st, err := os.Stat(name); {
	case err == nil && st.IsDir():
		return refuse("is a directory: want the name of a file")
	case err == nil && !st.Mode().IsRegular():
		return refuse("is no regular file: the report takes the place of the file all at once, so it has to be one")
	case err == nil && unix.Access(name, unix.W_OK) != nil:
		return refuse("exists and cannot be written: choose another name")
	}
	f, err := createBeside(name, fmt.Sprint(os.Getpid()))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse(fmt.Sprintf("there is no directory %s: make it", filepath.Dir(name)))
	case err != nil:
		return refuse(fmt.Sprintf("cannot make a file in %s: %v", filepath.Dir(name), underlying(err)))
	}
	f.Close()
	return os.Remove(f.Name())
}

// createBeside makes a file that can be renamed to name.
func createBeside(name, unique string) (*os.File, error) {
	return os.OpenFile(filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+unique), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

func underlying(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// writeReport writes the report of a job that has ended: all of it, or nothing.
func (j *job) writeReport(status int, reason string) error {
	name, err := own.Target(j.Report)
	if err != nil { // others have been there meanwhile
		return err
	}
	f, err := createBeside(name, j.id)
	if err != nil {
		return err
	}
	to := json.NewEncoder(f)
	to.SetEscapeHTML(false)
	to.SetIndent("", "  ")
	err = to.Encode(j.reportOf(status, reason))
	if err = cmp.Or(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func (j *job) reportOf(status int, reason string) *Report {
	program := j.Target
	if j.attached {
		program = os.Args[0]
	}
	r := &Report{
		Version: reportVersion, Job: j.id, Pprun: agent.Release(), Command: slices.Concat([]string{program}, j.Args),
		Start: j.began.UTC(), Wall: time.Since(j.began).Seconds(), Status: status, Reason: reason,
		Nodes: []ReportNode{}, Processes: append([]*Process{}, j.processes...),
	}
	for rank := range j.lives {
		if j.lives[rank].process == nil {
			n := j.nodes[j.placement.NodeOf[rank]]
			r.Processes = append(r.Processes, &Process{
				Rank: rank, Node: n.index, Host: n.host.Host, Tasks: []string{}, Stderr: []string{}, Lost: cmp.Or(n.failed, n.fate, "it was not started"),
			})
		}
	}
	for _, n := range j.nodes {
		r.Nodes = append(r.Nodes, ReportNode{n.host.Host, append([]int{}, n.ranks...), cmp.Or(n.failed, n.fate), n.guilty})
	}
	for _, p := range r.Processes {
		if p.End == nil {
			p.Role = j.lives[p.Rank].role.String()
			if p.Lost == "" {
				p.Lost = "pprun ended first"
			}
		}
	}
	return r
}
