package launch

import (
	"context"
	"os"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/agent"
)

// Config is what to run, where and how. Only Target is required.
type Config struct {
	Target string   // executable, script, Go package directory or .go file; a bare name is looked up on each node's PATH
	Args   []string // argv[1:]

	Nodes   []hostfile.Node // empty: this machine
	Request                 // how many ranks, and where

	Servers    []hostfile.Node // nodes besides, on which a ppserver runs, each with its port; see hostfile.ParseServers
	Discover   bool            // find more by themselves: those that announce themselves and have a secret of Keys
	MinServers int             // go on when no more than so many of them answer; 0: all have to
	Keys       string          // directory of the keys for them; empty: door.DefaultDir
	Local      int             // ranks on this machine where there are Servers and no Nodes; 0: one for each CPU, or NoLocal

	Env     []string          // additions to the environment: NAME, NAME=value or PREFIX*; see Environment
	EnvNone bool              // send nothing of the caller's environment but Env
	Dir     string            // working directory of the ranks; empty: the caller's where it exists, else a private one
	Stage   []string          // further files to copy into a private directory, which becomes the working directory
	Bin     map[string]string // executables for nodes of other platforms, by "GOOS/GOARCH"; a Go Target needs none
	NoStage bool              // Target is a path that exists on the nodes: copy nothing

	StdinTo int    // rank that gets standard input, or StdinAll, StdinNone
	Label   Label  // what stands before each line of output
	Output  string // pattern of the files that take the ranks' output, with %r rank, %h host; empty: Stdout and Stderr

	OnFail  OnFail // what a rank's failure means for the others
	Rejoin  bool   // use a node again that was lost, when it comes back, if its ranks only serve tasks
	Respawn int    // how often a lost rank that serves tasks is started again; 0: 3 times, NoRespawn: never

	Timeout      time.Duration // for the whole job; 0: none
	Stacks       bool          // when Timeout is over, have the ranks say what they do before they are ended (SIGQUIT)
	StartTimeout time.Duration // without any progress before the ranks run; 0: 60 s
	Grace        time.Duration // between TERM and KILL; 0: 5 s

	HeartbeatTimeout time.Duration // for so long the other end of a link of the job may be silent before it counts as dead; 0: 15 s

	AcceptNew  bool   // add unknown ssh host keys to known_hosts
	SSHConfig  string // ssh configuration file instead of the user's; empty: as ssh does
	SSHCommand string // what reaches nodes instead of package ssh, see Command; empty: nothing does

	Report string // file that tells, when the job has ended, how every process did: see type Report; empty: none

	Verbose, Quiet bool // say when all ranks are up; say nothing but errors

	attached bool // this process is rank 0 and its executable the program: see Option
	open     bool // nodes may come later
	byServer bool // a ppserver brings their agent

	Stdin          *os.File // nil: none
	Stdout, Stderr *os.File // nil: os.Stdout, os.Stderr
}

// Values of Config.StdinTo that are no rank.
const (
	StdinAll  = -1 // each rank gets a copy
	StdinNone = -2
)

// OnFail is what becomes of a job when one of its ranks fails: it exits with a status other than 0, is killed, leaves
// the others without a word, or its node is lost.
//
// A rank that only serves tasks (comm.Main, above rank 0) is replaceable, any other is not: one that never joined, one
// that called comm.Init, and rank 0. Before all have joined the job can do without no node that has ranks. The failure of one that is not decides the status, the first if there are several.
type OnFail uint8

const (
	OnFailRole     OnFail = iota // ends the job, unless the rank is replaceable: its tasks are redone, it is started again
	OnFailAbort                  // ends the job, whatever the rank
	OnFailWait                   // the others run to their end; nothing is started again, and the loss of any rank counts
	OnFailContinue               // the others run to their end; a replaceable rank is started again
)

// NoLocal is the value of Config.Local for no more than rank 0, without a slot for tasks.
const NoLocal = -1

// NoRespawn is the value of Config.Respawn for never.
const NoRespawn = -1

// Label is what stands before each line of output.
type Label uint8

const (
	LabelNone Label = iota
	LabelRank       // [3]
	LabelHost       // [node1]
)

// Exit statuses of pprun's own; any other is the program's.
const (
	StatusUsage         = 64
	StatusTimeout       = 124
	StatusFailed        = 125 // pprun, ssh or a node
	StatusNotExecutable = 126
	StatusNotFound      = 127
	StatusSignal        = 128 // plus the signal's number
)

// Run runs a job to its end and returns its exit status: 0 when every rank exited with 0, but for those that could be
// replaced (see OnFail), else that of the first rank that failed by itself, or one of the Status values. Where there is
// something to say of it, it says so on c.Stderr. Run handles the signals of the process while it runs, and uses its
// terminal.
func Run(ctx context.Context, c Config) (status int) {
	j := newJob(ctx, c)
	if j.begin() {
		j.attend()
	}
	return j.endAloud()
}

// begin does all up to the start of the ranks.
func (j *job) begin() bool {
	return j.plan() && j.launch() && j.place() && j.stage() && j.preflight() && j.listen() && j.start()
}

// fill sets defaults.
func (c *Config) fill() {
	if c.StartTimeout == 0 {
		c.StartTimeout = time.Minute
	}
	switch {
	case c.Respawn < 0 || c.OnFail == OnFailAbort || c.OnFail == OnFailWait:
		c.Respawn = 0
	case c.Respawn == 0:
		c.Respawn = 3
	}
	if c.Grace == 0 {
		c.Grace = agent.Grace
	}
	if c.HeartbeatTimeout == 0 {
		c.HeartbeatTimeout = frame.Timeout
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	if len(c.Nodes) == 0 {
		c.Nodes = []hostfile.Node{c.here()}
	}
}

// here is this machine as a node.
func (c *Config) here() hostfile.Node {
	if c.Local == NoLocal {
		c.rootIdle = true
		return hostfile.Node{Host: thisHost(), Slots: 1}
	}
	return hostfile.Node{Host: thisHost(), Slots: c.Local}
}
