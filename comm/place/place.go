// Package place is how an agent hands a rank its place in the job: the names of the environment variables, the Place
// itself, and the rank-agent protocol that carries it over a Unix socket.
//
//	rank -> agent   ask     who I am and what I shall be: spmd or serve
//	agent -> rank   place   rank, size, hub addresses, certificates; the hub's listeners as descriptors
//	                refuse  why not (this rank was taken already, other protocol version)
//	agent -> rank   death   how another rank's process ended (to rank 0)
//	                stopped another rank's process is stopped, or goes on (to rank 0; if it is rank 0's, to all)
//	rank -> agent   relayed my link to the hub goes through the relay, since no other way was found: why
//	rank -> agent   orphan  my link to the hub has ended before the job has: what I do now may come of that
//	rank -> agent   missed  the hub hears nothing of a rank, or hears it again (of rank 0)
//	rank -> agent   ran     what another rank had begun when the hub lost it (from rank 0)
//	rank -> agent   bye     I have left the job in order
//
//	rank -> agent   ask     on a connection of its own: a link to the hub, through the relay or the agent's trunk
//	agent -> rank   relay   from here on the bytes are those of the link
//	                refuse  why there is none
//
// The first connection stays open as long as both live: a rank whose agent is gone ends itself, and an agent learns from the
// role how to take a rank's end. A rank that never asks is plain. The socket lies in a directory of mode 0700, and both
// sides check the other's uid before they believe a byte, so no secret needs to stand in the environment.
package place

import (
	"fmt"
	"time"
)

// Version of the rank-agent protocol.
const Version = 10 // 2: deaths; 3: relays; 4: orphans; 5: what lost ranks ran; 6: heartbeats; 7: stopped ranks; 8: missed ranks; 9: links behind the agent; 10: all have joined

// Role is what a rank says it is.
type Role uint8

const (
	Plain Role = iota // never asked for its place: any program
	SPMD              // called comm.Init, or is rank 0 of comm.Main
	Serve             // comm.Main on a rank above 0: only serves tasks
)

func (r Role) String() string {
	switch r {
	case Plain:
		return "plain"
	case SPMD:
		return "spmd"
	case Serve:
		return "serve"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Place is all that a rank needs to know to take part in its job.
type Place struct {
	Job         string
	Rank, Size  int
	LocalRank   int           // index among the ranks of this node, from 0
	Node        int           // index into Nodes
	Nodes       []string      // host of each node, as the user spelt it
	NodeOf      []int         // index into Nodes of each rank, len == Size
	Slots       []int         // tasks that each rank runs at once, len == Size
	Dir         string        // where the ranks of this node may leave each other files, removed with the job; "" if nowhere
	Incarnation uint32        // 0 for a rank started with the job, +1 for each respawn
	Heartbeat   time.Duration // for which the other end of a link may be silent; 0: for ever

	Listeners []string  // networks ("unix", "tcp", "relay") of the descriptors passed along: rank 0 only
	Hub       []Address // where the hub is, best first, the relay last; empty on rank 0
	Client    *Identity // to prove this node's ranks to the hub over TCP; nil on one host
	Server    *Identity // to prove the hub to the ranks: rank 0 only, nil on one host
}

// Death is how a rank's process ended. Its agent knows, and rank 0 is told: the hub only sees a link end.
type Death struct {
	Rank        int
	Incarnation uint32
	Reason      string // in words; for a rank whose node is lost all that is known
	Exit        int    // exit status; -1 where there is none
	Signal      string // that killed it, as SIGKILL; empty: none did
	OOM         bool   // the kernel killed it for want of memory
	Stderr      []byte // last lines it wrote there
	Final       bool   // no further incarnation will come
}

// Missed is what the hub hears of a rank.
type Missed struct {
	Rank        int
	Incarnation uint32
	How         Hearing
}

// Hearing is how well a rank is heard.
type Hearing uint8

const (
	Heard   Hearing = iota
	Unheard         // nothing has come for two thirds of the timeout
	GivenUp         // nothing has come for the timeout: its link is closed
)

// Ran is what a rank ran when it was lost: the hub knows, and its agent's user wants to.
type Ran struct {
	Rank        int
	Incarnation uint32
	Tasks       []string // functions of the tasks that it can have begun, the oldest first, at most MaxRan
}

// MaxRan is how many tasks a Ran names.
const MaxRan = 8

// Address is a hub address. Network is "unix" (peer uid is the proof), "tcp" (mutual TLS), "relay" (mutual TLS over
// Link.Relay, which comes out at a Unix socket of the hub), or "node": Link.Relay is the link, since the agent has a trunk to
// the hub, where both have proved who they are for all ranks of the node.
type Address struct{ Network, Addr string }

// Identity is a certificate, its key, and the authority of the job that signed it, all DER. The key was made on this
// node and has never left it.
type Identity struct {
	CA, Cert, Key []byte
	Time          int64 // Unix seconds at which certificates are judged, so that clock skew breaks nothing
}
