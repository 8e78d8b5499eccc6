// Package launch runs one program as ranked processes on many machines, or on this one.
//
//	status := launch.Run(ctx, launch.Config{Target: "./prog", N: 8, Nodes: nodes})
//
// [Run] is the whole story of a job:
//
//	plan      find or build the program; with known slots, place the ranks
//	launch    start pprun's agent on every node: over one ssh session each, or as a process of its own here
//	place     give every rank a node, a local rank and a share of the CPUs
//	stage     compress the program once and stream it to the nodes that do not have it
//	preflight refuse what cannot come up, by the limits of the nodes
//	listen    with several nodes, have rank 0's node open the hub's ports, and sign everybody's certificate
//	start     start all ranks, once every node is ready for them
//	attend    relay output, input, signals, and links of ranks that cannot reach rank 0, until the last rank has ended;
//	          have ranks that only serve started again
//	end       see to it that nothing is left, and say why the job failed
//
// A failure in any step condemns the job: the first one becomes the verdict, everything that runs is ended, and the
// verdict's words and status are what Run says and returns. What [OnFail] lets the others survive does not condemn: it
// is told when it happens.
//
// What moves is in three kinds of goroutines: one reads each agent's connection and turns frames into events, one sends
// to it, one writes each output file. All decisions are made by one goroutine, which takes the events one by one ([Run]'s
// own).
//
// How an agent comes to a node is a launcher's affair: here.go, ssh.go, command.go; server.go finds it there.
//
// A program may also be its own launcher: comm.Via takes an [Option], and the job runs beside rank 0 in one process
// (attach.go), whose executable is the agent on the other nodes, too (agent/mode.go).
package launch
