// Package hostfile reads the machines of a job, and how many slots each has, from what people
// already have: host files of Open MPI, MPICH, PBS, Grid Engine and their relatives, lists on a command line,
// and the allocation of a batch job.
//
//	hosts, err := hostfile.ParseFile("hosts.txt")
//	hosts, err := hostfile.ParseList("node1:4,node2,rack[0-1]n[00-03]:2")
//	hosts, err := hostfile.Allocation(os.Getenv) // nil outside of a batch job
//
// A file has one machine, or one range of machines, on a line:
//
//	# a comment, here or at the end of a line; also // and /* */
//	node1                          # as many slots as the machine has usable CPUs
//	node2:4                        # four slots
//	node3 slots=4 max_slots=8      # the same as Open MPI writes it; cpu= and count= mean slots=
//	bob@node4 port=2222            # or: node4 user=bob port=2222, or: ssh://bob@node4:2222
//	node[05-08,11] slots=2         # node05 node06 node07 node08 node11, see [Expand]
//	[::1]:2                        # IPv6, two slots
//	^node06                        # leave node06 out, wherever it is named, if it is
//	node7 4 all.q@node7 UNDEFINED  # as Grid Engine writes it: host slots queue processors; or only: node7 4
//	group main ++cpus 2            # as charmrun writes it; the group's slots hold up to the next group
//	host node8 ++cpus 4
//
// The dialects contradict each other in places. These rules decide:
//
//   - (a) In host:N, N is a number of slots. A port is given by port= or in ssh://user@host:port.
//   - (b) An IPv6 address is never split at a colon. With slots it needs brackets: [::1]:4.
//   - (c) Lines that name the same host (with the same user and port) add up; the first gives the place
//     in the order. That slots= is given twice for one host is worth a warning.
//   - (d) A bare host has all usable CPUs of the machine (Slots 0), in files and in lists. But if any
//     host stands there bare more than once, as in PBS files, every bare mention counts as one slot; so
//     does a bare mention of a host that also has an explicit count.
//   - (e) Blank lines, comments, blanks around =, quotes around a value, CRLF, a byte order mark and a
//     missing final newline are all right. A directory, an unknown key, or a file without any host is an error.
//   - (f) Names stay as they are spelt: no domain is stripped or added.
//
// Host names consist of letters, digits and . _ : % - and do not begin with a dash, so that no name can be
// taken for an option or reach a shell as anything but a word. max_slots is checked and not used further;
// Intel's binding= and charmrun's options but ++cpus are not used either, with a warning.
package hostfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Node is one machine of a job.
type Node struct {
	Host  string // as spelt, without user: the name ssh is given and labels show
	Slots int    // number of processes meant for it; 0: not given, every usable CPU of the machine
	User  string // "": ssh's own default
	Port  int    // 0: ssh's own default
	Pos   string // where it was first named, as file:line, for messages
}

// Hosts is what a file, a list or a batch system says.
type Hosts struct {
	Source   string // name of the file, "host list", or the batch system and its job, as "Slurm job 12"
	Nodes    []Node // at least one
	CPUs     int    // of each slot, where the batch system says so; 0: it does not
	Warnings []string
}

// ParseFile reads the hosts file at path; "-" is standard input. Errors are those of [Parse], or one
// saying why the file cannot be read.
func ParseFile(path string) (*Hosts, error) {
	if path == "-" {
		return Parse("stdin", os.Stdin)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("hosts file %s does not exist", path)
	}
	if err != nil {
		return nil, fmt.Errorf("hosts file: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, fmt.Errorf("hosts file %s is a directory: want a file with one host per line", path)
	}
	return Parse(path, f)
}

// Parse reads a hosts file from r; name stands for it in messages. If it has mistakes, the error joins
// one [*Error] for each, up to ten, and no nodes are returned.
func Parse(name string, r io.Reader) (*Hosts, error) {
	p := newParser(name)
	p.file(r)
	return p.finish()
}

// ParseList reads hosts separated by commas, as given on a command line: a:4,b,node[01-04]:2. A host is
// written as in a file, without the key=value fields; blanks around the commas do not count. Errors are as those of [Parse].
func ParseList(s string) (*Hosts, error) {
	p := newParser("host list")
	if strings.TrimSpace(s) != "" {
		p.hosts(token{text: s, col: 1}, mention{Node: Node{Pos: p.name}})
	}
	return p.finish()
}
