package agent

import (
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// Version of the launcher-agent protocol.
const Version = 18 // 2: respawn, death; 3: relays; 4: credit for input that was read; 5: when and why a rank ended; 6: what lost ranks ran; 7: limits; 8: where libraries are; 9: heartbeats; 10: programs that launch themselves; 11: stopped ranks; 12: no names in ready; 13: missed ranks; 14: trunks; 15: path in ready; 16: all have joined; 17: what is removed with a directory; 18: ranks that are held

// The launcher-agent protocol: frames of comm/frame over any byte stream (socketpair, ssh session, TLS), structured
// payloads in CBOR. Both ends may send ahead: frames are handled in order, so a launcher that needs no answer does not wait.
//
//	launcher                                agent
//	hello      job, node, clocks       ->
//	                                   <-   ready      platform, CPUs, addresses, public key
//	stage      digest, size, name      ->
//	                                   <-   have | want
//	chunk...   zstd, until one without More ->
//	                                   <-   staged     after sha256 and the node's own checks
//	listen     addresses it may have   ->                (agent of rank 0, more than one node)
//	                                   <-   listening  addresses, hub's public key
//	start      argv, env, ranks, hub, certificates ->
//	                                   <-   able       to start them all (if Start.Held)
//	go         all agents are          ->                (if Start.Held)
//	                                   <-   started    pid of each rank
//	stdin...   one rank, under credit  ->
//	                                   <-   stdin credit   as far as the rank has read
//	                                   <-   stdout, stderr: whole lines, under credit
//	                                   <-   unwritable  instead, where the agent writes for the launcher
//	output credit                      ->
//	relay open, bytes, credit, close  <->  the same: a link between two agents, which the launcher passes on unread
//	                                   <-   relayed    why a rank's link to the hub is such a one
//	signal, suspend, resume, kill      ->
//	                                   <-   role       plain, spmd, serve: as soon as a rank says so
//	                                   <-   joined     all ranks have (agent of rank 0, which says so)
//	                                   <-   exit       one for each process, after the last byte of its output
//	respawn    rank, incarnation       ->                (a serve rank that is lost)
//	                                   <-   respawned  pid, or why not
//	death      how a rank ended        ->                (agent of rank 0, which tells it)
//	                                   <-   stopped    a rank's process is stopped, or goes on
//	stopped    the same                ->                (agent of rank 0, which tells it; if it is rank 0, all agents)
//	                                   <-   missed     the hub hears nothing of a rank, or hears it again (agent of rank 0)
//	give up    rank, incarnation       ->                (of which nothing was heard for the timeout)
//	                                   <-   ran        what a rank ran that the hub has lost (agent of rank 0)
//	beat                              <->   beat       every frame.Interval, the agent twice as often, whatever else flows
//	bye        after the last exit     ->
//	                                   <-   done       nothing of the job is left on the node
//
// A failure may come in place of any answer; the launcher then kills the job. Exits come after started, or after the
// failure in its place for those ranks that had started; output may come before. A chunk after a failed stage, and input
// for a rank that has ended, are dropped. The agent kills everything it started when its input ends or is silent for
// Hello.Heartbeat, with TERM first and KILL after Grace, and exits.
//
// A relay is a stream of bytes from a node that opens it to the hub's listener for relays on the node of rank 0. Src and
// Dst of its frames are nodes, ID is the number that the node which opened it gave it, from 1; whoever does not know it
// drops the frame. Only as many bytes flow as their receiver has given credit for, so the launcher and both agents hold no
// more, and the launcher lets all else go first.
//
//	agent of a rank         launcher          agent of rank 0
//	open, credit               ->             connects to the hub
//	                           <-             credit
//	bytes, credit             <->             bytes, credit
//	close                     <->             close: after the last byte, or in place of the first credit
const (
	KindHello        frame.Kind = 1  // CBOR Hello
	KindReady        frame.Kind = 2  // CBOR Ready
	KindStage        frame.Kind = 3  // ID: chosen by the launcher, from 1. CBOR Stage
	KindHave         frame.Kind = 4  // ID. The file is in the cache: send nothing; staged follows
	KindWant         frame.Kind = 5  // ID. Send it
	KindChunk        frame.Kind = 6  // ID. Next bytes of the zstd stream; the last chunk has no More
	KindStaged       frame.Kind = 7  // ID. CBOR Staged
	KindListen       frame.Kind = 8  // CBOR Listen
	KindListening    frame.Kind = 9  // CBOR Listening
	KindStart        frame.Kind = 10 // CBOR Start
	KindStarted      frame.Kind = 11 // CBOR Started
	KindStdin        frame.Kind = 12 // Dst: rank. Bytes for its standard input; an empty payload is the end of it
	KindStdinCredit  frame.Kind = 13 // Src: rank. ID: bytes it has read, so that more may follow (at most StdinWindow ahead); 0: it reads no more
	KindStdout       frame.Kind = 14 // Src: rank. Whole lines; More: the last line is not finished
	KindStderr       frame.Kind = 15 // as KindStdout
	KindOutputCredit frame.Kind = 16 // ID: bytes of output that the agent may send further, over OutputWindow at the start
	KindSignal       frame.Kind = 17 // ID: signal number, to every process of every rank's session
	KindSuspend      frame.Kind = 18 // stop the ranks; until resume only the end of input counts, not silence
	KindResume       frame.Kind = 19 // continue the ranks
	KindKill         frame.Kind = 20 // ID: grace in milliseconds between TERM and KILL (0: KILL at once)
	KindRole         frame.Kind = 21 // Src: rank. ID: place.Role
	KindExit         frame.Kind = 22 // CBOR Exit
	KindFailure      frame.Kind = 23 // CBOR Failure
	KindNote         frame.Kind = 24 // text for the user, one line
	KindBeat         frame.Kind = 25
	KindBye          frame.Kind = 26
	KindDone         frame.Kind = 27 // CBOR Done
	KindUnwritable   frame.Kind = 28 // ID: errno of writing to the launcher's standard output (Start.Direct)
	KindRespawn      frame.Kind = 29 // Dst: rank. ID: incarnation. Its last process has ended, as exit told
	KindRespawned    frame.Kind = 30 // CBOR Respawned
	KindDeath        frame.Kind = 31 // CBOR place.Death
	KindRelayOpen    frame.Kind = 32
	KindRelayBytes   frame.Kind = 33
	KindRelayCredit  frame.Kind = 34 // u32, big-endian: bytes that may be sent further
	KindRelayClose   frame.Kind = 35 // text: why, if it is to be told. ID 0: all relays of Src, whose agent is lost
	KindRelayed      frame.Kind = 36 // Src: rank. Text: what is wrong with each address of the hub
	KindRan          frame.Kind = 37 // CBOR place.Ran
	KindJoined       frame.Kind = 41 // all ranks have joined
	KindAble         frame.Kind = 42
	KindGo           frame.Kind = 43
	KindMissed       frame.Kind = 39 // Src: rank. Dst: incarnation. ID: place.Hearing
	KindGiveUp       frame.Kind = 40 // Dst: rank. ID: incarnation. The hub has given it up: it is to end
	KindStopped      frame.Kind = 38 // Src: rank. ID: its process that is stopped; 0: it goes on
)

// Windows of the two flow-controlled directions, in bytes.
const (
	StdinWindow  = 512 << 10
	OutputWindow = 1 << 20
	ChunkLen     = 256 << 10 // longest payload of chunk, stdin, stdout and stderr
)

// Grace is the time between TERM and KILL that a launcher gives unless it is told otherwise.
const Grace = 5 * time.Second

var limits = frame.StreamLimits(frame.Limits{
	KindHello: 64 << 10, KindReady: 64 << 10,
	KindStage: 64 << 10, KindHave: frame.NoPayload, KindWant: frame.NoPayload, KindChunk: ChunkLen, KindStaged: 64 << 10,
	KindListen: 64 << 10, KindListening: 64 << 10,
	KindStart: frame.MaxPayload, KindStarted: 8 << 20, KindAble: frame.NoPayload, KindGo: frame.NoPayload,
	KindStdin: ChunkLen, KindStdinCredit: frame.NoPayload,
	KindStdout: ChunkLen, KindStderr: ChunkLen, KindOutputCredit: frame.NoPayload,
	KindSignal: frame.NoPayload, KindSuspend: frame.NoPayload, KindResume: frame.NoPayload, KindKill: frame.NoPayload,
	KindRole: frame.NoPayload, KindExit: 64 << 10, KindFailure: 64 << 10, KindNote: 4 << 10,
	KindBeat: frame.NoPayload, KindBye: frame.NoPayload, KindDone: 4 << 10, KindUnwritable: frame.NoPayload,
	KindRespawn: frame.NoPayload, KindRespawned: 64 << 10, KindDeath: 16 << 10,
	KindRelayed: 4 << 10, KindStopped: frame.NoPayload, KindMissed: frame.NoPayload, KindJoined: frame.NoPayload, KindGiveUp: frame.NoPayload, KindRan: 16 << 10,
}, KindRelayOpen)

// Hello opens the conversation.
type Hello struct {
	Version   int
	Job       string        // id of the job: 16 hex digits
	Node      int           // index of this node
	Host      string        // the node's name as the user spelt it
	Alone     bool          // the job has no other node: Ready needs no key and no BootID
	Grace     time.Duration // between TERM and KILL when the agent has to end the ranks by itself
	Heartbeat time.Duration // for so long the other end of a link of the job may be silent; 0: frame.Timeout
}

// Ready is the agent's answer to Hello.
type Ready struct {
	Version   int
	Release   string // of pprun, for messages; empty for a local agent
	Digest    string // Identity of the agent's executable; empty for a local agent
	OS, Arch  string // as GOOS, GOARCH
	CPUs      int    // usable ones: affinity and cgroup limits count
	Limits    Limits // of the node; none for a local agent, whose are the launcher's
	BootID    string // tells two names of one machine from two machines; empty when alone
	Reached   string // address by which the launcher reached the node (SSH_CONNECTION, or where its ppserver listens), empty when local
	PublicKey []byte // PKIX Ed25519 key of this node, made for this job; empty when alone
	Path      string // of the agent's executable, for messages; empty for a local agent
}

// Stage announces a file. A program goes to the cache, any other file to the job's private directory under Name.
type Stage struct {
	Program bool
	Name    string // base name; for a program only used in messages and as the last element of its path
	Digest  string // sha256 of the uncompressed file, hex
	Size    int64  // of the uncompressed file; more is refused while it arrives
	Mode    uint32 // permission bits of a file that is no program
	// Libraries is the LD_LIBRARY_PATH that the ranks of a program will have; empty: the node's own.
	Libraries string
}

// Staged ends the staging of one file.
type Staged struct {
	Cached bool   // it was in the cache, nothing was sent
	Path   string // where it is
}

// Listen asks the agent of rank 0 to open the hub's TCP listeners: first on those of these addresses (IP without port)
// that the node has, then on its others.
type Listen struct{ Addresses []string }

// Listening answers Listen.
type Listening struct {
	Addresses []string // host:port, best first; none where the node has no address for others
	PublicKey []byte   // PKIX Ed25519 key of the hub
}

// Start starts this node's ranks, all from one open file.
type Start struct {
	Program Program
	Args    []string // argv[1:], byte-identical
	Env     []string // NAME=value, set over what the node keeps (see NodeKeeps)
	NodeEnv bool     // keep all of the node's environment, not only what NodeKeeps names (--env-none)

	Dir      string // working directory; empty: the job's private directory
	DirGiven bool   // the user named Dir: a failure where it is missing, else the private directory

	Ranks  []Rank
	Held   bool // say able, and start the ranks at go: nothing of the user's runs before all nodes can start what they have to
	Direct bool // write standard output to the launcher's own, which the agent has inherited, and send no frames of it

	Size   int      // ranks in the job
	Nodes  []string // host of each node
	NodeOf []int    // node of each rank
	Slots  []int    // slots of each rank

	Hub        []string // host:port addresses of the hub, best first; the relay is tried last
	Trunk      bool     // the agent connects to it once, for all ranks, instead of each of them
	CA         []byte   // DER; empty on one node
	ClientCert []byte   // DER, for the key of Ready
	HubCert    []byte   // DER, for the key of Listening; agent of rank 0 only
	Time       int64    // Unix seconds at which certificates are judged
}

// Program says what to start: a staged file (by its stage ID), or a path on the node, or a bare name found on the
// node's PATH, or the agent's own executable.
type Program struct {
	Stage uint64
	Path  string
	Self  bool
	Name  string // argv[0]
}

// Rank is one process to start.
type Rank struct {
	Rank, LocalRank int
	MaxProcs        int // GOMAXPROCS
	Stdin           Stdin
	PID             int    // 0: the agent starts it. Else it runs already: it is the launcher itself, and its exit is that it leaves the job
	Incarnation     uint32 // of its first process here; 0: the rank's first
}

// Stdin is where a rank's standard input comes from.
type Stdin uint8

const (
	StdinNone    Stdin = iota // /dev/null
	StdinInherit              // the agent's own descriptor 0: rank and launcher on one machine
	StdinForward              // frames
)

// Started names the process of each rank, in the order of Start.Ranks, and where they get their places.
type Started struct {
	PIDs   []int
	Socket string
}

// Respawned answers a respawn: the rank runs again, or cannot, and there will be no exit.
type Respawned struct {
	Rank    int
	PID     int    // 0: it could not be started
	Failure string // why
}

// Exit is the end of one process of a rank.
type Exit struct {
	Rank, PID    int
	Incarnation  uint32
	Code         int   // exit status, -1 when a signal ended it
	Signal       int   // 0: it exited
	Core, OOM    bool  // OOM: the kernel's out-of-memory killer did it
	Killed       bool  // the agent had been told to end it
	OOMLimit     int64 // bytes that its memory group may have, if OOM and known
	Joined, Left bool  // it had left the job in order (bye)
	Orphan       bool  // its link to the hub had ended before
	Deaf         bool  // the same, because it had given it up, having heard nothing for the timeout
	Hung         bool  // the hub had given it up, and it did not end by itself
	Wall         time.Duration
	Ago          time.Duration // how long it had ended when this was sent: all its output goes first
	User, System time.Duration
	MaxRSS       int64  // bytes
	StdinRead    int64  // bytes it took of the standard input that was forwarded to it
	Stderr       []byte // the end of its standard error, at most StderrLen
}

// StderrLen is how many bytes of its standard error the end of a rank comes with.
const StderrLen = 4 << 10

// Done says that nothing of the job is left on the node.
type Done struct {
	Removed int    // files and directories that the ranks had made in the private directory, hidden ones aside
	Such    string // the name of one
}

// Failure is why the agent could not do what it was asked.
type Failure struct {
	Phase string // hello, stage, check, listen, start
	Rank  int    // -1: not one rank's affair
	Text  string // what failed on what, and why: one line
	Fix   string // the one thing to do; may be empty
	Code  int    // exit status for the job: 64 bad input, 125, 126 not executable, 127 not found
}
