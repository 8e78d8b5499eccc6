package comm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
)

// A desk is a hub whose ranks note what they are sent.
type desk struct {
	*hub
	t    *testing.T
	sent [][]note // by rank
	next uint64   // id of the next task of rank 0
	ran  time.Duration
}

type note struct {
	frame.Header
	payload []byte
}

type notebook struct {
	desk *desk
	rank int
}

func (n notebook) send(h frame.Header, payload []byte) {
	n.desk.sent[n.rank] = append(n.desk.sent[n.rank], note{h, slices.Clone(payload)})
}
func (notebook) flush() {}
func (notebook) nudge() {}

// newDesk makes a hub whose ranks have so many slots, two on each node. All but rank 0 serve.
func newDesk(t *testing.T, slots ...int) *desk {
	d := &desk{hub: testHub(slots, 1), t: t, sent: make([][]note, len(slots)), ran: time.Second}
	d.nodes = nil
	for i, m := range d.members {
		m.port = notebook{d, i}
		if i%2 == 0 {
			d.nodes = append(d.nodes, &pool{})
		}
		m.node = d.nodes[i/2]
		m.node.ranks = append(m.node.ranks, m)
	}
	d.open()
	return d
}

// submit submits a task of rank 0 and returns its id.
func (d *desk) submit(dst uint32, o taskOptions, flags byte) uint64 {
	options := must(o.encode())
	payload := append(make([]byte, taskHeadLen), options...)
	putTaskHead(payload, taskHead{flags: flags, options: uint16(len(options))})
	id := d.next
	d.next++
	if err := d.receive(d.members[0], frame.Header{Kind: kindSubmit, Dst: dst, ID: id}, payload); err != nil {
		d.t.Fatal(err)
	}
	checkHub(d.t, d.hub)
	return id
}

// runs returns the tasks that a rank has, in the order in which it was given them.
func (d *desk) runs(rank int) (ids []uint64) {
	for _, t := range d.running(rank) {
		ids = append(ids, t.id)
	}
	return ids
}

func (d *desk) running(rank int) []*task {
	return slices.SortedFunc(d.members[rank].runs.all, func(a, b *task) int { return int(a.order) - int(b.order) })
}

// end has a rank end the first task that it has.
func (d *desk) end(rank int, s status) {
	t := d.running(rank)[0]
	b := make([]byte, resultHeadLen)
	putResultHead(b, resultHead{status: s, attempt: t.payload[attemptAt], ran: d.ran})
	if err := d.receive(d.members[rank], frame.Header{Kind: kindResult, Src: uint32(rank), ID: t.run}, b); err != nil {
		d.t.Fatal(err)
	}
	checkHub(d.t, d.hub)
}

// results returns what rank 0 has heard of its tasks.
func (d *desk) results() (heads map[uint64]resultHead) {
	heads = make(map[uint64]resultHead)
	for _, n := range d.sent[0] {
		if n.Kind != kindResult {
			continue
		}
		if _, twice := heads[n.ID]; twice {
			d.t.Errorf("two results of task %d", n.ID)
		}
		heads[n.ID] = parseResultHead(n.payload)
	}
	return heads
}

func (d *desk) want(what string, got, want any) {
	d.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		d.t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func TestPriorities(t *testing.T) {
	d := newDesk(t, 0, 1)
	d.guess[0] = time.Hour // no more than two for the slot
	var order []uint64
	first := d.submit(anyRank, taskOptions{}, 0)
	second := d.submit(anyRank, taskOptions{}, 0)
	low := d.submit(anyRank, taskOptions{Priority: -1}, 0)
	plain := d.submit(anyRank, taskOptions{}, 0)
	high := d.submit(anyRank, taskOptions{Priority: math.MaxInt}, 0)
	nested := d.submit(anyRank, taskOptions{Priority: math.MinInt}, flagNested)
	own := d.submit(1, taskOptions{}, 0)
	for range 7 {
		order = append(order, d.runs(1)[0])
		d.end(1, statusOK)
	}
	d.want("order", order, []uint64{first, second, nested, high, own, plain, low})
}

func TestPools(t *testing.T) {
	d := newDesk(t, 0, 1, 1, 1)
	d.guess[0] = time.Hour
	d.want("a rank without slots runs what is for it", func() []uint64 { d.submit(0, taskOptions{}, 0); return d.runs(0) }(), []uint64{0})
	for range 4 {
		d.submit(anyRank, taskOptions{Ranks: []int{3, 1}}, 0)
	}
	d.want("ranks 1, 2, 3 have", []int{len(d.runs(1)), len(d.runs(2)), len(d.runs(3))}, []int{2, 0, 2})
	on := d.submit(anyRank, taskOptions{Node: 2}, 0)
	d.want("of node 1 rank 2 is free and runs", d.runs(2), []uint64{on})
	waits := d.submit(anyRank, taskOptions{Ranks: []int{1}}, 0)
	also := d.submit(1, taskOptions{}, 0)
	d.end(1, statusOK)
	d.end(1, statusOK)
	d.want("rank 1 has", d.runs(1), []uint64{waits, also})
	for i := range 2 * maxPools { // each a list of its own
		ranks := []int{1, 2}
		for bit := range 10 {
			ranks = append(ranks, 1+i>>bit&1)
		}
		id := d.submit(anyRank, taskOptions{Ranks: ranks}, 0)
		d.cancel(d.members[0], id)
		if i == 0 {
			for range 2 {
				d.end(2, statusOK)
			}
		}
	}
	if n := len(d.pools); n > maxPools || len(d.members[1].seats) > maxPools+3 {
		t.Errorf("%d pools, %d seats of rank 1", n, len(d.members[1].seats))
	}
	for _, o := range []taskOptions{{Ranks: []int{4}}, {Ranks: []int{1, -1}}, {Node: 3}, {Node: -1}} {
		if _, err := d.poolOf(anyRank, &o); err == nil {
			t.Errorf("%+v has a pool", o)
		}
	}
}

func TestRetries(t *testing.T) {
	d := newDesk(t, 0, 1)
	for _, s := range []status{statusError, statusPanic} {
		d.sent[0] = nil
		d.submit(anyRank, taskOptions{Retries: 2}, 0)
		for attempt := range 2 {
			d.end(1, s)
			d.want("results", len(d.results()), 0)
			d.want("attempt", d.running(1)[0].payload[attemptAt], attempt+1)
		}
		d.end(1, s)
		d.want("results", d.results()[d.next-1].attempt, 2)
	}
	d.sent[0] = nil
	d.submit(anyRank, taskOptions{Retries: 2}, 0)
	d.end(1, statusNoRetry)
	d.submit(anyRank, taskOptions{}, 0)
	d.end(1, statusError)
	again := d.submit(anyRank, taskOptions{Retries: 2}, 0)
	d.cancel(d.members[0], again)
	d.end(1, statusError)
	d.want("what is left", []int{len(d.runs(1)), len(d.results())}, []int{0, 2})
}

// TestRedo loses a rank: what it ran goes first, in the old order, and only what it can have begun counts against a task.
func TestRedo(t *testing.T) {
	d := newDesk(t, 0, 2, 1)
	d.guess[0] = time.Hour
	for range 6 {
		d.submit(anyRank, taskOptions{}, 0)
	}
	behind := d.submit(anyRank, taskOptions{}, 0)
	lost, others := d.runs(1), d.runs(2)
	late := d.running(1)[0].run
	link := d.members[1].link
	if !d.cut(link, "power cut") {
		t.Fatal("the job is over")
	}
	checkHub(t, d.hub)
	for len(d.runs(2)) > 0 {
		d.end(2, statusOK)
		others = append(others, d.runs(2)[max(0, len(d.runs(2))-1):]...)
	}
	d.want("order", slices.Compact(others)[2:], append(slices.Clone(lost), behind))
	d.want("results", len(d.results()), 7)
	for i, id := range lost {
		d.want(fmt.Sprintf("attempt of task %d", i), d.results()[id].attempt, 1)
	}
	if err := d.takeBack(newTestLink(), []helloRank{{1, 0, 2, place.Serve}}); err == nil || !strings.Contains(err.Error(), "incarnation 0 of rank 1 is lost") {
		t.Errorf("the old incarnation again: %v", err)
	}
	if err := d.takeBack(newTestLink(), []helloRank{{1, 1, 2, place.SPMD}}); err == nil {
		t.Error("a rank comes back that does more than serve")
	}
	if err := d.takeBack(newTestLink(), []helloRank{{1, 3, 2, place.Serve}}); err != nil {
		t.Errorf("a new incarnation: %v", err)
	}
	if err := d.expect(helloRank{1, 3, 2, place.Serve}); err == nil || err.Error() != "rank 1 is in already" {
		t.Errorf("the same once more: %v", err)
	}
	if err := d.receive(d.members[1], frame.Header{Kind: kindResult, Src: 1, ID: late}, make([]byte, resultHeadLen)); err != nil || d.late != 1 {
		t.Errorf("a late result: %v, %d were late", err, d.late)
	}
	if err := d.receive(d.members[1], frame.Header{Kind: kindResult, Src: 1, ID: 1 << 20}, make([]byte, resultHeadLen)); err == nil {
		t.Error("a result of a run that never was is taken")
	}
}

// TestLastResult has a rank end itself after a result: it gets nothing more, and what it had not begun is not counted
// against it.
func TestLastResult(t *testing.T) {
	d := newDesk(t, 0, 1, 1)
	d.guess[0] = time.Hour
	for range 5 { // two are on each rank, one waits
		d.submit(anyRank, taskOptions{MaxLost: 2}, 0)
	}
	last := d.running(1)[0]
	b := make([]byte, resultHeadLen)
	putResultHead(b, resultHead{status: statusNoRetry})
	if err := d.receive(d.members[1], frame.Header{Kind: kindResult, Flags: flagLast, Src: 1, ID: last.run}, b); err != nil {
		t.Fatal(err)
	}
	checkHub(t, d.hub)
	d.want("rank 1 has", d.runs(1), []uint64{})
	d.cut(d.members[1].link, "it has ended itself")
	d.want("blamed", len(d.blames), 0)
	for range 4 {
		d.end(2, statusOK)
	}
	d.want("results", len(d.results()), 5)
}

// TestOrphans loses a rank that has submitted tasks: nobody runs them any more.
func TestOrphans(t *testing.T) {
	d := newDesk(t, 0, 1, 1)
	d.guess[0] = time.Hour
	for i := range 6 { // two are on each rank, two wait
		if err := d.receive(d.members[1], frame.Header{Kind: kindSubmit, Src: 1, Dst: anyRank, ID: uint64(i)}, make([]byte, taskHeadLen)); err != nil {
			t.Fatal(err)
		}
	}
	mine := d.submit(anyRank, taskOptions{}, 0)
	run := d.running(2)[0].run
	d.cut(d.members[1].link, "power cut")
	checkHub(t, d.hub)
	if !slices.ContainsFunc(d.sent[2], func(n note) bool { return n.Kind == kindCancel && n.ID == run }) {
		t.Error("rank 2 does not hear that nobody wants what it runs")
	}
	d.end(2, statusOK)
	d.want("rank 2 has", d.runs(2)[1:], []uint64{mine})
	d.end(2, statusOK)
	d.end(2, statusOK)
	d.want("results", len(d.results()), 1)
	d.want("tasks left", d.any.tasks, 0)
}

func TestSetSlots(t *testing.T) {
	d := newDesk(t, 0, 4, 2, 1)
	slots := func(n uint64) []int {
		if err := d.receive(d.members[0], frame.Header{Kind: kindSlots, ID: n}, nil); err != nil {
			t.Fatal(err)
		}
		checkHub(t, d.hub)
		return d.slots()
	}
	for range 20 {
		d.submit(anyRank, taskOptions{}, 0)
	}
	d.want("of 7", slots(7), []int{0, 4, 2, 1})
	d.want("of 14", slots(14), []int{0, 8, 4, 2})
	d.want("of 3", slots(3), []int{0, 2, 1, 0})
	d.want("of 1", slots(1), []int{0, 1, 0, 0})
	d.want("of 8", slots(8), []int{0, 5, 2, 1})
	d.cut(d.members[1].link, "power cut")
	checkHub(t, d.hub)
	d.want("of 8 without rank 1", d.slots(), []int{0, 0, 5, 3})
	if err := d.takeBack(newTestLink(), []helloRank{{1, 1, 4, place.Serve}}); err != nil {
		t.Fatal(err)
	}
	d.want("of 8 with rank 1 back", d.slots(), []int{0, 5, 2, 1})
	last := d.sent[0][len(d.sent[0])-1]
	var news membership
	if err := cborDec.Unmarshal(last.payload, &news); err != nil || !slices.Equal(news.Slots, d.slots()) || news.Epoch != d.epoch || !slices.Equal(news.Back, []int{1}) {
		t.Errorf("the last news is %+v, %v", news, err)
	}
	if err := d.setSlots(0); err == nil {
		t.Error("0 slots are taken")
	}
}

// TestQueue compares the queue with a sorted list.
func TestQueue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q queue
	var list []*task
	for range 20_000 {
		switch n := r.IntN(10); {
		case n < 5:
			x := &task{options: &taskOptions{Priority: r.IntN(5) - 2}, payload: make([]byte, taskHeadLen)}
			i, _ := slices.BinarySearchFunc(list, x, func(a, b *task) int {
				if n == 0 && a.priority() == b.priority() {
					return 1 // before those that are alike
				}
				if a.priority() >= b.priority() {
					return -1
				}
				return 1
			})
			list = slices.Insert(list, i, x)
			if n == 0 {
				q.pushFront(x)
			} else {
				q.push(x)
			}
		case len(list) == 0:
		case n < 8:
			if x := q.pop(); x != list[0] {
				t.Fatalf("got a task of priority %d, want one of %d", x.priority(), list[0].priority())
			}
			list = list[1:]
		default:
			i := r.IntN(len(list))
			q.remove(list[i])
			list = slices.Delete(list, i, i+1)
		}
		if q.empty() != (len(list) == 0) || !q.empty() && q.top() != list[0].priority() {
			t.Fatal("the queue does not know what is in it")
		}
		if len(q.named) > 6 {
			t.Fatalf("%d lanes for 5 priorities", len(q.named))
		}
	}
}

// TestTaskSize holds what a task that waits costs the hub.
func TestTaskSize(t *testing.T) {
	if n := unsafe.Sizeof(task{}); n > 128 {
		t.Errorf("a task takes %d bytes", n)
	}
	if n := unsafe.Sizeof(Future[int]{}); n > 128 {
		t.Errorf("a future takes %d bytes", n)
	}
}

// TestGiveBack has a rank give tasks back that it has not begun: others run them, in their order, and it gets none ahead
// until it has ended a short one.
func TestGiveBack(t *testing.T) {
	d := newDesk(t, 0, 1, 1)
	d.guess[0] = time.Microsecond
	for range 6 {
		d.submit(1, taskOptions{}, 0)
	}
	d.submit(anyRank, taskOptions{}, 0)
	own := d.runs(1)
	if len(own) < 3 || len(d.runs(2)) != 1 {
		t.Fatalf("ranks have %v, %v", own, d.runs(2))
	}
	any := d.submit(anyRank, taskOptions{Ranks: []int{1, 2}}, 0)
	dropped := own[len(own)-1]
	d.cancel(d.members[0], dropped)
	for _, x := range slices.Backward(d.running(1)[1:]) {
		if err := d.receive(d.members[1], frame.Header{Kind: kindReturn, Src: 1, ID: x.run}, nil); err != nil {
			t.Fatal(err)
		}
		checkHub(t, d.hub)
	}
	d.want("rank 1 has", d.runs(1), own[:1])
	d.end(1, statusOK)
	d.want("then rank 1 has", d.runs(1), own[1:2])
	d.ran = time.Millisecond
	d.end(1, statusOK)
	d.want("after a short one it has", d.runs(1)[:2], own[2:4])
	if slices.Contains(d.runs(1), dropped) || !slices.Contains(append(d.runs(1), d.runs(2)...), any) {
		t.Errorf("ranks have %v, %v", d.runs(1), d.runs(2))
	}
	if err := d.receive(d.members[1], frame.Header{Kind: kindReturn, Src: 1, ID: 1 << 20}, nil); err == nil {
		t.Error("a run that never was is taken back")
	}
}
