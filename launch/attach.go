package launch

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/hostfile"
)

// attached is a job of which this process is rank 0. The local agent has its seat, and takes the end of its connection
// for its end; all else is as in any other job. Should this process end in whatever way, the agents lose their launcher.
type attached struct {
	job   *job
	up    chan struct{} // closed when the ranks run
	env   place.Env     // read after up
	ended chan struct{} // closed when nothing is left of them
	err   error         // why the job failed; read after ended
}

// deserted is the event that rank 0 has given up.
type deserted struct{}

// attach starts a job as c has it, around this process.
func attach(ctx context.Context, c Config) (place.Job, error) {
	if err := c.attach(); err != nil {
		return nil, err
	}
	starting, cancel := context.WithCancelCause(context.Background())
	a := &attached{job: newJob(starting, c), up: make(chan struct{}), ended: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer stop()
	go a.run()
	select {
	case <-a.up:
		return a, nil
	case <-a.ended:
		return nil, cmp.Or(a.err, errors.New("the job ended before it began"))
	}
}

// attach completes what the options say: this machine is the first node.
func (c *Config) attach() error {
	var err error
	if c.Target, err = ownExecutable(); err != nil {
		return err
	}
	c.Args, c.attached, c.Bin = os.Args[1:], true, siblings()
	if c.Report != "" {
		if err := checkReport(c.Report); err != nil {
			return err
		}
	}
	if c.MinServers > len(c.Servers) && !c.Discover {
		return failf(StatusUsage, "launch.MinServers(%d): more than there are: %s", c.MinServers, count(len(c.Servers), "server"))
	}
	here := c.here()
	if i := slices.IndexFunc(c.Nodes, isLocal); i >= 0 {
		if c.Local == 0 {
			here.Slots = c.Nodes[i].Slots
		}
		c.Nodes = slices.Delete(c.Nodes, i, i+1)
	}
	if c.rootIdle && len(c.Nodes)+len(c.Servers) == 0 && !c.Discover {
		return failf(StatusUsage, "launch.Local(0) and no other machine: nobody would run a task")
	}
	c.Nodes = append([]hostfile.Node{here}, c.Nodes...)
	return nil
}

// run is the job from its beginning to its end.
func (a *attached) run() {
	defer close(a.ended)
	j := a.job
	if j.begin() {
		a.env = place.Env{
			Agent: j.nodes[0].socket, Size: j.placement.Size(), LocalSize: len(j.nodes[0].ranks), Nodes: len(j.nodes), Job: j.id,
		}
		close(a.up)
		j.attend()
	}
	_, a.err = j.end()
}

func (a *attached) Env() place.Env { return a.env }

func (a *attached) Failed() <-chan struct{} { return a.job.doomed }

func (a *attached) End(err error) error {
	if err != nil {
		select {
		case a.job.events <- event{what: deserted{}}:
		case <-a.ended:
		}
	}
	<-a.ended
	return a.err
}
