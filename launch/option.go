package launch

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/hostfile"
)

// An Option is where a program that launches itself finds its ranks, or how; comm.Via takes them:
//
//	comm.Main(run, comm.Via(launch.Local(4)))
//	comm.Main(run, comm.Via(launch.Servers("node-1", "node-2:7070"), launch.MinServers(1)))
//	comm.Main(run, comm.Via(launch.Hosts("hosts.txt"), launch.Local(0)))
//
// Those that are put together first go into a []comm.Launcher: comm.Via(list...).
//
// The calling process is rank 0 on the first machine, this one, where there is a rank for each CPU unless Local says
// otherwise. The executable that runs is all that the other machines need, and is copied there as pprun copies programs: it
// is the ranks, and pprun's agent, too. Each rank begins with main, with the arguments and the environment of the calling
// process, and gets no further than comm.Main or comm.Init. Its output appears at that of the calling process. An
// executable for machines of another platform is looked for beside the running one: prog-linux-arm64 beside prog.
//
// What else a Config says of how a job runs, such as HeartbeatTimeout, OnFail, Respawn, Report or AcceptNew, is set by an
// Option of the program's own:
//
//	launch.Option(func(c *launch.Config) error { c.OnFail = launch.OnFailAbort; return nil })
//
// However the calling process ends, by a panic, os.Exit or SIGKILL, too, nothing is left of the other ranks. A rank that is
// lost is started again, its tasks are redone: OnFailRole, as pprun has it. A failed start is an error with a method
// ExitStatus, and names every machine that failed, with its reason.
type Option func(*Config) error

// Local sets how many ranks run on this machine, this process being one of them: by default one for each CPU. With 0 there
// is none but this process, which then runs no tasks.
func Local(n int) Option {
	return func(c *Config) error {
		switch c.Local = n; {
		case n < 0:
			return failf(StatusUsage, "launch.Local(%d): want 0 or more", n)
		case n == 0:
			c.Local = NoLocal
		}
		return nil
	}
}

// Servers adds machines on which a ppserver runs: "node-1", "node-2:7070", "node-[3-5]*4" for four ranks on each. Without a
// port it is ServerPort, without a number the ranks are those that the server offers. Keys and secret are those of pprun
// --servers; PPRUN_SERVERS is not looked at. See MinServers.
func Servers(names ...string) Option {
	return func(c *Config) error {
		c.open, c.byServer = true, true
		if len(names) == 0 {
			return nil
		}
		servers, err := hostfile.ParseServers(strings.Join(names, ","), ServerPort)
		if err != nil {
			return failf(StatusUsage, "launch.Servers: %v", err)
		}
		c.Servers = append(c.Servers, servers...)
		return nil
	}
}

// Discover adds the ppservers on the networks of this machine that announce themselves (ppserver --announce) and have the
// same secret as this program; one on this machine itself only with Local(0). The secret is the one in the directory keys, as
// ppserver keygen --secret made it; "" is pprun's own directory. It stays there, and without it none is believed. Servers are
// looked for when the job starts, which takes a second.
func Discover(keys string) Option {
	return func(c *Config) error {
		c.open, c.byServer, c.Discover = true, true, true
		c.Keys = cmp.Or(keys, c.Keys)
		return nil
	}
}

// Hosts adds the machines of a hosts file, which are reached by ssh as by pprun --hosts. Where this machine is among them,
// the file says how many ranks it has.
func Hosts(file string) Option {
	return func(c *Config) error {
		c.open = true
		hosts, err := hostfile.ParseFile(file)
		if err != nil {
			return failf(StatusUsage, "launch.Hosts: %v", err)
		}
		for _, w := range hosts.Warnings {
			fmt.Fprintln(os.Stderr, "pprun: warning: "+w)
		}
		c.Nodes = append(c.Nodes, hosts.Nodes...)
		return nil
	}
}

// MinServers lets the job begin when no more than k of the servers answer. By default all have to.
func MinServers(k int) Option {
	return func(c *Config) error {
		if k < 1 {
			return failf(StatusUsage, "launch.MinServers(%d): want 1 or more", k)
		}
		c.MinServers = k
		return nil
	}
}

// Rejoin has a machine that is lost used again when it is back: its server answers, or its sshd. It is tried again and
// again, after half a second at first, in the end after half a minute, and is let in as at the start. Tasks that no other
// rank may run wait for it.
var Rejoin Option = func(c *Config) error {
	c.Rejoin = true
	return nil
}

// Launch makes an Option a place.Launcher, which comm.Via takes.
func (Option) Launch(ctx context.Context, all []place.Launcher) (place.Job, error) {
	var c Config
	for _, l := range all {
		o, ok := l.(Option)
		if !ok {
			return nil, failf(StatusUsage, "comm.Via: %T is no launch.Option and cannot be combined with one", l)
		}
		if err := o(&c); err != nil {
			return nil, err
		}
	}
	return attach(ctx, c)
}
