package comm

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// The rank-hub protocol. The hub is a part of rank 0; a link carries one rank or several.
//
//	rank -> hub   hello    who we are: job, ranks, incarnations, fingerprint of the registered functions
//	hub  -> rank  differ   the hub's functions, where the fingerprints differ
//	rank -> hub   differ   the rank's functions; both ends now know what differs, and give up
//	hub  -> rank  refuse   why not; bye if the job is over
//	hub  -> rank  welcome  every rank is here; before it nothing else flows
//
//	rank -> hub   submit   a task (dst: the rank to run it, or anyRank)
//	hub  -> rank  run      a task, under the id of this run; the hub fills in the attempt
//	rank -> hub   result   of a run, with the run's id; the hub passes it on with the task's id and the time it was queued
//	rank -> hub   offer    a result too long to send (large.go); the hub passes it on as it does results
//	rank -> hub   return   of a run that has not begun: it waited for too long
//	rank -> hub   cancel   of a task; the hub drops it or passes it on with the run's id
//	rank -> hub   yield    a run waits for other tasks and holds no slot
//	rank -> hub   resume   it holds one again
//	rank -> rank  message  tagged bytes (id: the tag), in order for each tag
//	rank -> rank  fetch    of a piece of a blob (blob.go) that the other holds (id: of all pieces that are fetched)
//	rank -> rank  piece    in answer, or missing, if it does not hold that blob
//	rank -> rank  release  of a blob (id), by who needed it last
//	rank -> rank  forget   a blob that was fetched: it was released
//	rank -> rank  ack      that many message bytes (id) have arrived: the window opens again
//	hub  -> rank  members  a rank that serves is lost or back, or ranks have other slots
//	hub  -> rank  lost     a rank is lost that the job cannot do without: all that is pending fails
//	rank -> hub   slots    the job is to run that many tasks at once (id)
//	rank -> rank  ask      what do you do (id: the question)
//	rank -> rank  answer   in words (id: of the question)
//	rank -> hub   abort    this rank gives the job up
//	rank <-> hub  beat     there was nothing else to send (heartbeat.go)
//	rank -> hub   bye      this rank has called Close, and serves on
//	hub  -> rank  bye      all ranks have: the link ends
//
// src and dst of the header are ranks. A payload above partLen travels as several frames (frame.More).
const (
	kindHello   frame.Kind = 1  // CBOR hello
	kindWelcome frame.Kind = 2  // CBOR welcome
	kindRefuse  frame.Kind = 3  // text
	kindDiffer  frame.Kind = 4  // CBOR []signature
	kindSubmit  frame.Kind = 5  // task head, options, argument
	kindRun     frame.Kind = 6  // task head, options, argument
	kindResult  frame.Kind = 7  // result head, result or CBOR wireError or LostError
	kindCancel  frame.Kind = 8  // empty
	kindYield   frame.Kind = 9  // empty
	kindResume  frame.Kind = 10 // empty
	kindMessage frame.Kind = 11 // bytes
	kindAck     frame.Kind = 12 // empty
	kindLost    frame.Kind = 13 // CBOR LostError
	kindAbort   frame.Kind = 14 // text
	kindBye     frame.Kind = 15 // empty
	kindMembers frame.Kind = 16 // CBOR membership
	kindSlots   frame.Kind = 17 // empty
	kindAsk     frame.Kind = 18 // u8: askRank or askJob
	kindAnswer  frame.Kind = 19 // text
	kindReturn  frame.Kind = 20 // empty
	kindOffer   frame.Kind = 24 // blobRef
	kindFetch   frame.Kind = 25 // digest, u64 id of the blob, u64 from where, u32 how much; little-endian
	kindPiece   frame.Kind = 26 // bytes
	kindMissing frame.Kind = 27 // empty
	kindRelease frame.Kind = 28 // digest
	kindForget  frame.Kind = 29 // digest
	kindBeat    frame.Kind = 30 // empty
)

// kindNames are what tests call the kinds of frames.
var kindNames = map[frame.Kind]string{
	kindHello: "hello", kindWelcome: "welcome", kindRefuse: "refuse", kindDiffer: "differ", kindSubmit: "submit",
	kindRun: "run", kindResult: "result", kindCancel: "cancel", kindYield: "yield", kindResume: "resume",
	kindMessage: "message", kindAck: "ack", kindLost: "lost", kindAbort: "abort", kindBye: "bye", kindMembers: "members",
	kindSlots: "slots", kindReturn: "return", kindAsk: "ask", kindAnswer: "answer",
	kindOffer: "offer", kindFetch: "fetch", kindPiece: "piece", kindMissing: "missing",
	kindRelease: "release", kindForget: "forget", kindBeat: "beat",
}

// FrameName returns the name of a kind of frame, for package commtest.
func FrameName(k frame.Kind) string { return kindNames[k] }

// protocol is the version of all this.
const protocol = 5

// anyRank is the dst of a task that any rank may run.
const anyRank = 1<<32 - 1

const (
	lentLen   = 64 << 10 // a payload up to this length is lent to whom it is sent, a longer one is given away
	partLen   = 1 << 20  // the most payload that one frame carries, so that no message blocks the others
	inlineLen = 8 << 20  // the longest argument or result that is sent; what is longer is fetched, which takes as long
	maxLen    = 1 << 30  // the longest message
)

// upLimits is what the hub accepts of a rank, downLimits what a rank accepts of the hub.
var (
	upLimits = frame.Limits{
		kindHello: 1 << 20, kindDiffer: 4 << 20,
		kindSubmit: partLen, kindResult: partLen, kindMessage: partLen, kindAbort: 64 << 10,
		kindCancel: frame.NoPayload, kindYield: frame.NoPayload, kindResume: frame.NoPayload,
		kindAck: frame.NoPayload, kindBye: frame.NoPayload, kindSlots: frame.NoPayload, kindReturn: frame.NoPayload,
		kindAsk: 1, kindAnswer: maxAnswer,
		kindOffer: blobRefLen, kindFetch: fetchLen, kindPiece: pieceLen, kindMissing: frame.NoPayload,
		kindRelease: digestLen, kindForget: digestLen, kindBeat: frame.NoPayload,
	}
	downLimits = frame.Limits{
		kindWelcome: 4 << 20, kindRefuse: 64 << 10, kindDiffer: 4 << 20,
		kindRun: partLen, kindResult: partLen, kindMessage: partLen, kindLost: 64 << 10, kindMembers: 4 << 20,
		kindCancel: frame.NoPayload, kindAck: frame.NoPayload, kindBye: frame.NoPayload,
		kindAsk: 1, kindAnswer: maxAnswer,
		kindOffer: blobRefLen, kindFetch: fetchLen, kindPiece: pieceLen, kindMissing: frame.NoPayload,
		kindRelease: digestLen, kindForget: digestLen, kindBeat: frame.NoPayload,
	}
)

// Flags of the frame of a result.
const (
	flagTaken = 1 << 1 // its value was offered and fetched
	flagLast  = 1 << 2 // its rank ends itself now: it is to get nothing more
)

// taskHead is the head of a task: u32 function, u8 flags, u8 attempt, u16 length of the options that follow;
// little-endian like the arguments.
type taskHead struct {
	fn      uint32
	flags   byte
	attempt byte   // how often it was sent to a rank before, 255 for more
	options uint16 // length of the CBOR taskOptions between head and argument; 0 where there are none
}

const (
	taskHeadLen = 8
	flagsAt     = 4 // index of the flags
	attemptAt   = 5 // and of the attempt
)

const (
	flagNested = 1 << 0 // submitted by a running task: goes before those that are not
	flagBlob   = 1 << 1 // in place of the argument is the blobRef of one that this task alone needs
	flagShared = 1 << 2 // or of one that others need, too
	flagChunk  = 1 << 3 // the argument is a chunk
)

func putTaskHead(b []byte, h taskHead) {
	binary.LittleEndian.PutUint32(b, h.fn)
	b[flagsAt], b[attemptAt] = h.flags, h.attempt
	binary.LittleEndian.PutUint16(b[6:], h.options)
}

func parseTaskHead(b []byte) taskHead {
	return taskHead{binary.LittleEndian.Uint32(b), b[flagsAt], b[attemptAt], binary.LittleEndian.Uint16(b[6:])}
}

// resultHead is the head of a result: u8 status, u8 attempt, u48 microseconds queued at the hub, u64 nanoseconds run.
type resultHead struct {
	status  status
	attempt byte
	queued  time.Duration // filled in by the hub
	ran     time.Duration
}

const resultHeadLen = 16

// status is how a task ended.
type status uint8

const (
	statusOK      status = iota
	statusError          // the function returned an error, or its argument or result could not travel
	statusNoRetry        // the same, and it said that running it again is of no use
	statusPanic          // it panicked
	statusLost           // its ranks were lost: said by the hub only
	statusFailed         // at its submitter: canceled, never sent; does not travel
)

func putResultHead(b []byte, h resultHead) {
	b[0], b[1] = byte(h.status), h.attempt
	putQueued(b, h.queued)
	binary.LittleEndian.PutUint64(b[8:], uint64(h.ran))
}

// putQueued fills in the time that a task was queued, at most 8 years.
func putQueued(b []byte, queued time.Duration) {
	us := uint64(queued / time.Microsecond)
	binary.LittleEndian.PutUint16(b[2:], uint16(us))
	binary.LittleEndian.PutUint32(b[4:], uint32(us>>16))
}

func parseResultHead(b []byte) resultHead {
	v := binary.LittleEndian.Uint64(b)
	return resultHead{
		status: status(v), attempt: byte(v >> 8), queued: time.Duration(v>>16) * time.Microsecond,
		ran: time.Duration(binary.LittleEndian.Uint64(b[8:]) & math.MaxInt64),
	}
}

const fetchLen = digestLen + 8 + 8 + 4

func putFetch(b []byte, r blobRef, from uint64, n uint32) {
	copy(b, r.digest[:])
	binary.LittleEndian.PutUint64(b[digestLen:], r.id)
	binary.LittleEndian.PutUint64(b[digestLen+8:], from)
	binary.LittleEndian.PutUint32(b[digestLen+16:], n)
}

func parseFetch(b []byte) (d digest, id, from uint64, n uint32) {
	p := b[digestLen:]
	return digest(b[:digestLen]), binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint32(p[16:])
}

// A chunk is the argument of a task that calls its function several times, one after another:
//
//	u32 count, u32 budget: microseconds after which it is to come back unfinished, 0: never
//	for each element: u32 length, argument
//
// Its result, if the status is statusOK, has as many of the elements as were run:
//
//	u32 count, from 1
//	for each element: u32 length, u8 status, u8 attempt, u48 nanoseconds run, result or CBOR wireError
const (
	chunkHeadLen   = 8
	chunkRanLen    = 4
	chunkResultLen = 12
)

var errBadChunk = errors.New("a malformed chunk")

func putChunkHead(b []byte, count int, budget time.Duration) {
	binary.LittleEndian.PutUint32(b, uint32(count))
	binary.LittleEndian.PutUint32(b[4:], uint32(budget/time.Microsecond))
}

func appendChunkArg(b, arg []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(arg))), arg...)
}

// chunkArgEnd returns where the first of some elements ends, of a chunk that parseChunk likes.
func chunkArgEnd(b []byte) int { return 4 + int(binary.LittleEndian.Uint32(b)) }

// parseChunk checks a chunk and returns what it is made of.
func parseChunk(b []byte) (count int, budget time.Duration, args []byte, err error) {
	if len(b) < chunkHeadLen {
		return 0, 0, nil, errBadChunk
	}
	count = int(binary.LittleEndian.Uint32(b))
	budget = time.Duration(binary.LittleEndian.Uint32(b[4:])) * time.Microsecond
	args = b[chunkHeadLen:]
	rest := args
	for n := 0; n < count; n++ {
		if len(rest) < 4 || int64(len(rest)-4) < int64(binary.LittleEndian.Uint32(rest)) {
			return 0, 0, nil, errBadChunk
		}
		rest = rest[chunkArgEnd(rest):]
	}
	if count == 0 || len(rest) > 0 {
		return 0, 0, nil, errBadChunk
	}
	return count, budget, args, nil
}

// putChunkResult fills in the head in front of an element's result.
func putChunkResult(b []byte, h resultHead) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-chunkResultLen))
	b[4], b[5] = byte(h.status), h.attempt
	ran := min(h.ran, 1<<48-1)
	binary.LittleEndian.PutUint16(b[6:], uint16(ran))
	binary.LittleEndian.PutUint32(b[8:], uint32(ran>>16))
}

// checkChunkResult says whether a result is that of a chunk of count elements or of the first of them.
func checkChunkResult(b []byte, count int) error {
	if len(b) < chunkRanLen {
		return errBadChunk
	}
	ran := int(binary.LittleEndian.Uint32(b))
	b = b[chunkRanLen:]
	for range min(ran, count) {
		if len(b) < chunkResultLen || int64(len(b)-chunkResultLen) < int64(binary.LittleEndian.Uint32(b)) {
			return errBadChunk
		}
		b = b[chunkResultLen+int(binary.LittleEndian.Uint32(b)):]
	}
	if ran < 1 || ran > count || len(b) > 0 {
		return errBadChunk
	}
	return nil
}

// chunkRan and cutChunkResult read results that checkChunkResult likes.
func chunkRan(b []byte) int { return int(binary.LittleEndian.Uint32(b)) }

func cutChunkResult(b []byte) (h resultHead, body, rest []byte) {
	n := chunkResultLen + int(binary.LittleEndian.Uint32(b))
	h = resultHead{
		status: status(b[4]), attempt: b[5],
		ran: time.Duration(binary.LittleEndian.Uint32(b[8:]))<<16 | time.Duration(binary.LittleEndian.Uint16(b[6:])),
	}
	return h, b[chunkResultLen:n:n], b[n:]
}
