// Package agent is pprun's process on a node. It keeps the program cache, starts the node's ranks, carries their standard
// streams, tells how they end, and leaves nothing of the job behind.
//
// The launcher starts one agent on each node, whatever the number of ranks there, and speaks the protocol of wire.go with
// it over any byte stream: a socketpair on the launcher's own machine, an ssh session on another. Serve is that
// conversation from the agent's side:
//
//	read frames ──> stage ──> cache (programs by digest), private directory (other files)
//	            ├─> start ──> spawners ──> ranks, each a session of its own, seated by comm/place
//	            │              output ──> whole lines, under credit ──> launcher
//	            │              reaper ──> exit of a rank, after its last byte of output
//	            ├─> respawn ──> the next incarnation of a rank, once nothing is left of the last
//	            ├─> relays ──> links of ranks to a hub that they cannot reach themselves, under credit
//	            └─> kill, end of input, silence ──> TERM, grace, KILL for every process of the job
//
// Every process that a rank starts is a descendant of the agent, which adopts orphans (child subreaper), so the agent can
// find and end all of them. Should the agent itself be killed, the kernel kills the ranks (parent-death signal) and a
// guard, a second small process, the rest: whoever is in the ranks' control group, where there may be one, in one of their
// sessions, or has the job's id in its environment. Should the agent be stopped, the guard waits as long as the launcher.
//
// Main is the command line of both: `pprun agent` and `pprun guard`, which users never type.
package agent
