package comm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/scripts/bounded"
)

func TestHeads(t *testing.T) {
	b := make([]byte, 8)
	task := taskHead{fn: 1<<31 + 5, flags: flagNested, attempt: 3, options: 1<<16 - 1}
	putTaskHead(b, task)
	if got := parseTaskHead(b); got != task {
		t.Errorf("task head: %+v, want %+v", got, task)
	}
	b = make([]byte, 16)
	result := resultHead{status: statusPanic, attempt: 255, queued: 8*365*24*time.Hour + time.Microsecond, ran: 90*24*time.Hour + 7}
	putResultHead(b, result)
	if got := parseResultHead(b); got != result {
		t.Errorf("result head: %+v, want %+v", got, result)
	}
}

func TestTable(t *testing.T) {
	var x table[string]
	a, b := x.add("a"), x.add("b")
	x.remove(a)
	if _, ok := x.get(a); ok {
		t.Error("a removed id is found")
	}
	c := x.add("c")
	if v, ok := x.get(c); c == a || uint32(c) != uint32(a) || v != "c" || !ok {
		t.Errorf("reused %#x after %#x: %q %v", c, a, v, ok)
	}
	if v, ok := x.get(b); v != "b" || !ok || x.len() != 2 {
		t.Errorf("b: %q %v, %d", v, ok, x.len())
	}
	if _, ok := x.get(1 << 40); ok {
		t.Error("an id that never was is found")
	}
}

func TestHelloCheck(t *testing.T) {
	good := func() hello {
		return hello{Protocol: protocol, Job: "j", Ranks: []helloRank{{1, 0, 2, place.SPMD}, {3, 0, 0, place.Serve}}}
	}
	for _, c := range []struct {
		change func(*hello)
		want   string
	}{
		{func(h *hello) {}, ""},
		{func(h *hello) { h.Protocol = 9 }, fmt.Sprintf("protocol 9, the hub speaks %d", protocol)},
		{func(h *hello) { h.Job = "k" }, `it is of job "k", this is job "j"`},
		{func(h *hello) { h.Ranks = nil }, "it names no rank"},
		{func(h *hello) { h.Ranks[0].Rank = 0 }, "it claims rank 0"},
		{func(h *hello) { h.Ranks[0].Rank = -1 }, "it claims rank -1"},
		{func(h *hello) { h.Ranks[0].Rank = 4 }, "it claims rank 4 of 4"},
		{func(h *hello) { h.Ranks[0].Rank = 3 }, "it claims rank 3"},
		{func(h *hello) { h.Ranks[0].Rank = 2 }, "it claims rank 2, which its certificate does not name"},
		{func(h *hello) { h.Ranks[1].Role = place.Plain }, "it says that rank 3 is plain"},
		{func(h *hello) { h.Ranks[1].Slots = -1 }, "it claims -1 slots"},
	} {
		h := good()
		c.change(&h)
		err := h.check("j", 4, func(rank int) bool { return rank != 2 })
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestDifference(t *testing.T) {
	a := signature{"a", "int", "int"}
	for _, c := range []struct {
		hub, rank []signature
		want      string
	}{
		{[]signature{a}, []signature{a}, ""},
		{[]signature{a}, nil, `it does not register "a"`},
		{nil, []signature{a}, `it registers "a", which rank 0 does not`},
		{[]signature{a}, []signature{{"a", "string", "int"}}, `its "a" takes string, that of rank 0 takes int`},
		{[]signature{a}, []signature{{"a", "int", "{}"}}, `its "a" returns {}, that of rank 0 returns int`},
	} {
		if got := difference(c.hub, c.rank); got != c.want {
			t.Errorf("%v and %v: %q, want %q", c.hub, c.rank, got, c.want)
		}
		if same := bytes.Equal(fingerprint(c.hub), fingerprint(c.rank)); same != (c.want == "") {
			t.Errorf("%v and %v have the same fingerprint: %v", c.hub, c.rank, same)
		}
	}
}

func TestAssembler(t *testing.T) {
	var a assembler
	h := frame.Header{Kind: kindMessage, Src: 1, ID: 7, Flags: frame.More}
	other := frame.Header{Kind: kindMessage, Src: 2, ID: 7}
	if _, ok, err := a.add(h, []byte("ab")); ok || err != nil {
		t.Fatal(ok, err)
	}
	if b, ok, err := a.add(other, []byte("x")); !ok || string(b) != "x" || err != nil {
		t.Fatal(b, ok, err)
	}
	h.Flags = 0
	if b, ok, err := a.add(h, []byte("c")); !ok || string(b) != "abc" || err != nil {
		t.Fatal(b, ok, err)
	}
	if len(a.parts) != 0 {
		t.Error("parts are left")
	}
}

// TestUnfinished lets a rank begin one task after another, and finish none.
func TestUnfinished(t *testing.T) {
	var a assembler
	piece := make([]byte, partLen)
	h := frame.Header{Kind: kindSubmit, Src: 1, Dst: anyRank}
	begin := func(n int) (err error) {
		for i := range n {
			h.ID, h.Flags = uint64(i), frame.More
			if _, _, err = a.add(h, piece); err != nil {
				break
			}
		}
		return err
	}
	for range 3 {
		if err := begin(16); err != nil {
			t.Fatal(err)
		}
		for i := range 16 {
			h.ID, h.Flags = uint64(i), 0
			if i%2 > 0 {
				a.drop(kindSubmit, 1, anyRank, h.ID)
			} else if _, ok, err := a.add(h, nil); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
	}
	if a.unfinished[1] != 0 {
		t.Errorf("%d bytes are counted still", a.unfinished[1])
	}
	if err := begin(100); err == nil || len(a.parts) > 17 {
		t.Errorf("%d tasks begun: %v", len(a.parts), err)
	}
	h.ID, h.Flags, h.Src = 0, frame.More, 2
	for range 16 {
		if _, _, err := a.add(h, piece); err != nil {
			return
		}
	}
	t.Error("a task has no end")
}

// TestEndlessMessage has rank 1 send rank 0 more than a message may be: rank 0 hears no more of it, and nothing else ends.
func TestEndlessMessage(t *testing.T) {
	c := newComm(place.Place{Size: 3, Nodes: []string{"a"}, NodeOf: make([]int, 3), Slots: []int{1, 1, 1}}, place.SPMD, newSettings(nil), nil)
	c.up = sink{}
	c.parts.parts = map[partKey][]byte{{kind: kindMessage, src: 1, id: 7}: make([]byte, maxLen)}
	for _, src := range []uint32{1, 2} {
		if err := c.receive(frame.Header{Kind: kindMessage, Src: src, ID: 7}, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	var lost *LostError
	if _, err := c.RecvMessage(t.Context(), 1, 7); !errors.As(err, &lost) || lost.Rank != 1 {
		t.Errorf("from rank 1: %v", err)
	}
	if b, err := c.RecvMessage(t.Context(), 2, 7); string(b) != "x" || err != nil {
		t.Errorf("from rank 2: %q, %v", b, err)
	}
}

// sink is a port that keeps nothing.
type sink struct{}

func (sink) send(frame.Header, []byte) {}
func (sink) flush()                    {}
func (sink) nudge()                    {}

// testHub makes a hub whose ranks swallow what they are sent. All but rank 0 serve.
func testHub(slots []int, functions int) *hub {
	c := &Comm{role: place.SPMD, slots: slots, fns: make([]*function, functions)}
	c.ranks.Store(&roster{nodes: []string{"n"}, node: make([]int, len(slots))})
	h := newHub(c)
	for _, m := range h.members {
		m.port = sink{}
		if m.rank > 0 {
			m.sit(newTestLink(), helloRank{Rank: m.rank, Slots: m.slots, Role: place.Serve})
		}
	}
	return h
}

// newTestLink makes a link that nobody reads.
func newTestLink() *link { return &link{} }

// checkHub checks what must be true of a hub between frames.
func checkHub(t *testing.T, h *hub) {
	t.Helper()
	pools := append([]*pool{h.any}, h.nodes...)
	for _, p := range h.pools {
		pools = append(pools, p)
	}
	for _, m := range h.members {
		if m.runs.len() < m.yielded || m.bytes < 0 || m.ahead < 0 || m.level != m.measure() {
			t.Fatalf("rank %d: %d runs, %d yielded, %d bytes, %v ahead, level %d", m.rank, m.runs.len(), m.yielded, m.bytes, m.ahead, m.level)
		}
		if m.alone != nil {
			pools = append(pools, m.alone)
		}
		for _, s := range m.seats {
			if s.member != m || s.pool.levels[m.level][s.at] != s || m.lost != nil || s.pool.any && m.slots == 0 {
				t.Fatalf("rank %d sits where it should not: %+v", m.rank, s)
			}
			if !s.pool.queue.empty() && m.level != full {
				t.Fatalf("rank %d has room, and a task waits for it", m.rank)
			}
		}
	}
	for _, p := range pools {
		if !p.queue.empty() && p.hopeless() {
			t.Fatal("a task waits for nobody")
		}
	}
}

// frames cuts fuzz input into frames: kind, src, dst, id (index and use), flags, length, payload.
func frames(b []byte, f func(frame.Header, []byte)) {
	for len(b) >= 8 {
		n := min(int(b[7])%40, len(b)-8)
		h := frame.Header{
			Kind: frame.Kind(b[0] % 32), Src: uint32(b[1] % 4), Dst: uint32(int8(b[2])), Flags: b[6] & frame.More,
			ID: uint64(b[3]) | uint64(b[4])<<32 | uint64(b[5])<<16,
		}
		f(h, b[8:8+n])
		b = b[8+n:]
	}
}

func seed(f *testing.F) {
	task := append([]byte{byte(kindSubmit), 1, 0xff, 0, 0, 0, 0, 16}, make([]byte, 16)...)
	result := append([]byte{byte(kindResult), 0, 0, 0, 0, 0, 0, 16}, make([]byte, 16)...)
	f.Add(append(append(task, result...), task...))
	f.Add(append(task, byte(kindCancel), 1, 0, 0, 0, 0, 0, 0))
	options := must((&taskOptions{Retries: 1, Ranks: []int{1, 2}}).encode())
	picky := append(append([]byte{byte(kindSubmit), 1, 0xff, 0, 0, 0, 0, byte(taskHeadLen + len(options))}, make([]byte, taskHeadLen)...), options...)
	putTaskHead(picky[8:], taskHead{options: uint16(len(options))})
	f.Add(append(append(picky, result...), result...))
	f.Add(append(append(task, 0, 1, 0, 0, 0, 0, 0, 0), task...)) // it is lost, and comes again
	f.Add([]byte{byte(kindBye), 1, 0, 0, 0, 0, 0, 0, byte(kindAbort), 2, 0, 0, 0, 0, 0, 0})
}

// FuzzHub lets ranks say anything to the hub: it must not panic.
func FuzzHub(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		h := testHub([]int{1, 1, 2, 0}, 2)
		h.open()
		frames(b, func(f frame.Header, payload []byte) {
			m := h.members[f.Src]
			err := errors.New("it ended")
			switch {
			case m.lost != nil: // whatever it says, it comes again, or never will
				if f.Flags == 0 {
					h.takeBack(newTestLink(), []helloRank{{m.rank, m.incarnation + 1, int(f.Kind % 3), place.Serve}})
				} else {
					h.abandon(m)
				}
				err = nil
			case relayed(f.Kind):
				_, err = h.relay(f, payload)
			case f.Kind > 0:
				err = h.receive(m, f, payload)
			}
			if err != nil && m.rank == 0 {
				h.lose(m, err.Error())
			} else if err != nil {
				h.cut(m.link, err.Error())
			}
			if !h.over {
				checkHub(t, h)
			}
		})
	})
}

// FuzzRank lets the hub say anything to a rank: it must not panic.
func FuzzRank(f *testing.F) {
	seed(f)
	run := append([]byte{byte(kindRun), 1, 0, 0, 0, 0, 0, 16}, make([]byte, 16)...)
	f.Add(append(run, byte(kindCancel), 0, 0, 0, 0, 0, 0, 0))
	fn := &function{name: "f"}
	fn.arg = must(newCodec(reflect.TypeFor[int]()))
	fn.res = fn.arg
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		c := newComm(place.Place{Size: 4, Nodes: []string{"a"}, NodeOf: make([]int, 4), Slots: []int{1, 1, 1, 1}}, place.SPMD, newSettings(nil), []*function{fn})
		c.up = sink{}
		c.server.closed = true // nothing runs
		for range 3 {
			k := &call{comm: c, fn: fn}
			c.submit(t.Context(), k, &defaultPlan, binary.LittleEndian.AppendUint64(k.small[:taskHeadLen], 7), anyRank)
		}
		frames(b, func(f frame.Header, payload []byte) { c.receive(f, payload) })
		c.fail(ErrClosed)
		c.blobs.work.Wait()
	})
}

func TestTaskOptions(t *testing.T) {
	var c optionCache
	if b, err := noOptions.encode(); b != nil || err != nil {
		t.Errorf("no options travel as %x, %v", b, err)
	}
	want := taskOptions{Priority: -3, Retries: 1, Timeout: time.Second, Ranks: []int{1, 300}, Node: 2}
	options := must(want.encode())
	payload := append(append(make([]byte, taskHeadLen), options...), "argument"...)
	putTaskHead(payload, taskHead{fn: 7, options: uint16(len(options))})
	for range 2 { // decoded, then found in the cache
		h, o, arg, err := c.split(payload)
		if h.fn != 7 || !reflect.DeepEqual(*o, want) || string(arg) != "argument" || err != nil {
			t.Errorf("got %+v, %+v, %q, %v", h, o, arg, err)
		}
	}
	if _, _, _, err := c.split(payload[:taskHeadLen+1]); err == nil {
		t.Error("options that are cut off are taken")
	}
	for i := range 2 * maxOptions {
		if _, err := c.get(must((&taskOptions{Priority: i + 1}).encode())); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.decoded) > maxOptions {
		t.Errorf("the cache has grown to %d", len(c.decoded))
	}
	if _, err := (&taskOptions{Ranks: make([]int, 1<<16)}).encode(); err == nil {
		t.Error("options longer than a head can say are made")
	}
}

// FuzzTask parses what a rank may send as a task.
func FuzzTask(f *testing.F) {
	f.Add(append([]byte{0, 0, 0, 0, 0, 0, 1, 0}, 0xa0))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		var c optionCache
		if _, o, arg, err := c.split(b); err == nil && (o == nil || len(arg) > len(b)-taskHeadLen) {
			t.Errorf("%x: %v, %x", b, o, arg)
		}
	})
}

// FuzzChunk takes chunks and results of chunks apart, and puts those that are well-formed together again.
func FuzzChunk(f *testing.F) {
	head := make([]byte, chunkHeadLen)
	putChunkHead(head, 2, time.Second)
	chunk := appendChunkArg(appendChunkArg(head, []byte("one")), nil)
	f.Add(chunk)
	f.Add(chunk[:len(chunk)-1])
	result := append([]byte{1, 0, 0, 0}, make([]byte, chunkResultLen)...)
	putChunkResult(result[chunkRanLen:], resultHead{status: statusPanic, attempt: 3, ran: time.Hour})
	f.Add(result)
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		if count, budget, args, err := parseChunk(b); err == nil {
			again := make([]byte, chunkHeadLen)
			putChunkHead(again, count, budget)
			for range count {
				end := chunkArgEnd(args)
				again = appendChunkArg(again, args[4:end])
				args = args[end:]
			}
			if !bytes.Equal(again, b) {
				t.Errorf("%x became %x", b, again)
			}
		}
		if checkChunkResult(b, 100) != nil {
			return
		}
		again := bytes.Clone(b[:chunkRanLen])
		for rest := b[chunkRanLen:]; len(rest) > 0; {
			h, body, more := cutChunkResult(rest)
			at := len(again)
			again = append(append(again, make([]byte, chunkResultLen)...), body...)
			putChunkResult(again[at:], h)
			rest = more
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}
