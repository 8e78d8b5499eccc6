package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch"
)

// envServers names servers where no flag names hosts.
const envServers = "PPRUN_SERVERS"

// findHosts takes the hosts that were given, or else those of the batch job; if there are none, it is this machine.
func (o *options) findHosts() error {
	c := &o.config
	if list := cmp.Or(o.servers, os.Getenv(envServers)); (list != "" || c.Discover) && o.host == "" && o.hosts == "" {
		return o.findServers(list)
	}
	var hosts *hostfile.Hosts
	var err error
	switch {
	case o.host != "":
		if hosts, err = hostfile.ParseList(o.host); err != nil {
			return fmt.Errorf("--host %s: %w", o.host, err)
		}
	case o.hosts != "":
		if hosts, err = o.readHosts(); err != nil {
			return err
		}
	default:
		if hosts, err = hostfile.Allocation(os.Getenv); err != nil {
			return fmt.Errorf("this seems to be a batch job: %w; or give --host or --hosts", err)
		}
		if hosts == nil {
			return nil
		}
		if c.Verbose {
			fmt.Fprintf(os.Stderr, "pprun: %s gave %s\n", hosts.Source, summary(hosts.Nodes))
		}
	}
	c.Nodes = hosts.Nodes
	if c.CPUs == 0 && c.PPN == 0 && c.N <= slotsOf(hosts.Nodes) { // the slots are as the batch system cut them
		c.CPUs = hosts.CPUs
	}
	for _, w := range hosts.Warnings {
		if !c.Quiet {
			fmt.Fprintln(os.Stderr, "pprun: warning: "+w)
		}
	}
	return nil
}

// findServers takes the servers of a list.
func (o *options) findServers(list string) (err error) {
	c := &o.config
	if list == "" { // all are to be discovered
		return nil
	}
	if c.Servers, err = hostfile.ParseServers(list, launch.ServerPort); err != nil {
		return fmt.Errorf("--servers (or %s): %w", envServers, err)
	}
	if c.MinServers > len(c.Servers) && !c.Discover {
		return fmt.Errorf("--min-servers %d: more than there are: %s", c.MinServers, plural(len(c.Servers), "server"))
	}
	return nil
}

// readHosts reads the file of --hosts. If that is our standard input, the ranks get none.
func (o *options) readHosts() (*hostfile.Hosts, error) {
	hosts, err := hostfile.ParseFile(o.hosts)
	if o.hosts == "-" {
		o.config.Stdin, o.config.StdinTo = nil, launch.StdinNone
		return hosts, err
	}
	if !exists(o.hosts) && strings.ContainsAny(o.hosts, ",:") {
		err = fmt.Errorf("%w: give a list of hosts with --host", err)
	}
	return hosts, err
}

// summary is how many nodes and slots there are.
func summary(nodes []hostfile.Node) string {
	return fmt.Sprintf("%s with %s", plural(len(nodes), "node"), plural(slotsOf(nodes), "slot"))
}

func slotsOf(nodes []hostfile.Node) int {
	slots := 0
	for _, n := range nodes {
		slots += n.Slots
	}
	return slots
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
