package comm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// An Option says how tasks are run. Options given to Register are a function's defaults, With overrides them, and those
// given to Submit, Call, Map or Unordered override both. A bad value makes Register panic and tasks fail; it is never
// ignored. Options that are used often are best given to With once: they are then encoded once.
type Option func(*options)

// options are the values of options. They do not change once they are in an optionSet.
type options struct {
	task   taskOptions
	group  string
	place  placement
	window int
	chunk  int
	err    error // of the first bad value
}

// A placement says where tasks may run; the zero placement anywhere. A later one takes the place of an earlier one.
type placement struct {
	ranks []int
	node  string
	local bool
}

const (
	maxRetries  = 100 // and maxMaxLost: so that the number of an attempt fits into a byte
	maxMaxLost  = 100
	maxGroupLen = 1024
)

// Group puts tasks into a group, for Comm.Wait and Comm.Cancel.
func Group(name string) Option {
	return func(o *options) {
		if name == "" || len(name) > maxGroupLen {
			o.bad("Group(%.40q): want 1 to %d bytes", name, maxGroupLen)
		}
		o.group = name
	}
}

// Priority lets waiting tasks of a higher priority begin before those of a lower one. The default is 0. What running
// tasks submit goes before all others.
func Priority(n int) Option {
	return func(o *options) {
		if n != int(int32(n)) {
			o.bad("Priority(%d): want %d to %d", n, -1<<31, 1<<31-1)
		}
		o.task.Priority = n
	}
}

// Retries lets a task that fails, by an error, a panic or its Timeout, run up to n times more, anywhere, unless its error
// is a NoRetry. The default is 0. See Attempt.
func Retries(n int) Option {
	return func(o *options) {
		if n < 0 || n > maxRetries {
			o.bad("Retries(%d): want 0 to %d", n, maxRetries)
		}
		o.task.Retries = n
	}
}

// MaxLost lets a task fail with a LostError when n ranks were lost while they ran it: until then it is run again. The
// default is 3; with 1 a task is never run again after its rank was lost.
func MaxLost(n int) Option {
	return func(o *options) {
		if n < 1 || n > maxMaxLost {
			o.bad("MaxLost(%d): want 1 to %d", n, maxMaxLost)
		}
		o.task.MaxLost = n
	}
}

// Timeout ends the context of a function that runs for longer than d; the task fails with what the function returns then,
// which should be an error that wraps context.DeadlineExceeded. Each attempt has d anew, time in queues does not count.
// With 0, the default, there is no limit. See KillAfter for functions that do not heed their context.
func Timeout(d time.Duration) Option {
	return func(o *options) {
		if d < 0 {
			o.bad("Timeout(%v): want 0 or more", d)
		}
		o.task.Timeout = d
	}
}

// KillAfter ends the process of a rank whose task has not returned d after its context ended, by cancellation or Timeout.
// pprun starts the rank again, and its other tasks are run again. Only ranks above 0 under Main are ended: elsewhere, as
// everywhere with 0, the default, the task is named on stderr and goes on.
func KillAfter(d time.Duration) Option {
	return func(o *options) {
		if d < 0 {
			o.bad("KillAfter(%v): want 0 or more", d)
		}
		o.task.KillAfter = d
	}
}

// OnRanks lets tasks run on these ranks only.
func OnRanks(ranks ...int) Option {
	return func(o *options) {
		switch {
		case len(ranks) == 0:
			o.bad("OnRanks(): want one rank or more")
		case slices.Min(ranks) < 0:
			o.bad("OnRanks: there is no rank %d", slices.Min(ranks))
		}
		sorted := slices.Clone(ranks)
		slices.Sort(sorted)
		o.place = placement{ranks: slices.Compact(sorted)}
	}
}

// OnNode lets tasks run on the ranks of one machine only; Comm.Nodes has the names.
func OnNode(name string) Option {
	return func(o *options) {
		if name == "" {
			o.bad(`OnNode(""): want the name of a node`)
		}
		o.place = placement{node: name}
	}
}

// Local lets tasks run only on the rank that submits them, which shares memory with them.
func Local() Option { return func(o *options) { o.place = placement{local: true} } }

// Window lets Map and Unordered read ahead n elements at most. By default the window grows while the loop waits for
// results, up to a few thousand tasks.
func Window(n int) Option {
	return func(o *options) {
		if n < 1 {
			o.bad("Window(%d): want 1 or more", n)
		}
		o.window = n
	}
}

// Auto is for Chunk.
const Auto = -1

// Chunk lets Map and Unordered send n elements together as one task, which costs less for functions of microseconds.
// The elements run one after another, each with its own context, error and Retries. With Auto the number follows the
// measured run times, so that a chunk takes about two milliseconds; a chunk that takes much longer comes back unfinished,
// and others get the rest. The default is 1.
func Chunk(n int) Option {
	return func(o *options) {
		if n < 1 && n != Auto || n > maxChunk {
			o.bad("Chunk(%d): want 1 to %d, or Auto", n, maxChunk)
		}
		o.chunk = n
	}
}

func (o *options) bad(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf(format, args...)
	}
}

// An optionSet holds options and what they mean in the job where they were used last. A nil one has the defaults.
type optionSet struct {
	options
	last atomic.Pointer[plan]
}

// with returns the set with more options.
func (s *optionSet) with(opts []Option) *optionSet {
	if len(opts) == 0 {
		return s
	}
	more := new(optionSet)
	if s != nil {
		more.options = s.options
	}
	more.apply(opts)
	return more
}

func (o *options) apply(opts []Option) {
	for _, opt := range opts {
		if opt == nil {
			o.bad("a nil Option")
			continue
		}
		opt(o)
	}
}

// forOne is with for a single task.
func (s *optionSet) forOne(opts []Option) *optionSet {
	if len(opts) == 0 {
		return s
	}
	var own options
	own.apply(opts)
	s = s.with(opts)
	if own.window != 0 || own.chunk != 0 {
		s.bad("Window and Chunk are for Map and Unordered")
	}
	return s
}

// A plan is what a set of options means in one job. It does not change.
type plan struct {
	comm   *Comm
	task   []byte // as it travels
	group  string
	window int
	chunk  int
	placed bool
}

var defaultPlan plan

// in returns what the options mean in c's job.
func (s *optionSet) in(c *Comm) (*plan, error) {
	if s == nil {
		return &defaultPlan, nil
	}
	if p := s.last.Load(); p != nil && p.comm == c {
		return p, nil
	}
	if s.err != nil {
		return nil, s.err
	}
	task := s.task
	if err := s.place.fill(&task, c); err != nil {
		return nil, err
	}
	p := &plan{comm: c, group: s.group, window: s.window, chunk: s.chunk, placed: task.Ranks != nil || task.Node > 0}
	var err error
	if p.task, err = task.encode(); err != nil {
		return nil, err
	}
	s.last.Store(p)
	return p, nil
}

// fill sets ranks and node of the options of a task in c's job.
func (p placement) fill(t *taskOptions, c *Comm) error {
	switch {
	case p.local:
		t.Ranks = []int{c.rank}
	case p.node != "":
		nodes := c.ranks.Load().nodes
		for i, name := range nodes {
			if name == p.node { // the last, should one have been removed and added again
				t.Node = i + 1
			}
		}
		if t.Node == 0 {
			return fmt.Errorf("OnNode(%q): the nodes are %s", p.node, strings.Join(nodes, ", "))
		}
	case p.ranks != nil:
		if last := p.ranks[len(p.ranks)-1]; last >= c.Size() {
			return fmt.Errorf("OnRanks: there is no rank %d, they are 0 to %d", last, c.Size()-1)
		}
		t.Ranks = p.ranks
	}
	return nil
}

// Attempt returns how often the running task that ctx belongs to was begun before: 0 the first time. A task is begun
// again after its rank was lost, or if it has Retries. It is 0 outside a task.
func Attempt(ctx context.Context) int {
	n, _ := ctx.Value(attemptKey).(byte)
	return int(n)
}
