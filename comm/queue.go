package comm

import (
	"container/heap"
	"math"
)

// A queue holds tasks by priority, those of one priority first in first out. Adding and taking one costs the same
// however many there are; so does removing one from the middle, or canceling many would be slow.
type queue struct {
	lanes  lanes           // those with tasks, the highest priority first
	named  map[int64]*lane // the same, and recent
	recent *lane           // of the last task to be added: most tasks have one priority
}

// A lane is the tasks of one priority.
type lane struct {
	priority    int64
	first, last *task
	at          int // index in queue.lanes, -1 while it is empty
}

// priority orders tasks: those that a running task waits for go before all others, which could not end without them.
func (t *task) priority() int64 {
	p := int64(max(math.MinInt32, min(t.options.Priority, math.MaxInt32)))
	if t.payload[flagsAt]&flagNested != 0 {
		p += 1 << 33
	}
	return p
}

func (q *queue) empty() bool { return len(q.lanes) == 0 }

// top is the highest priority of a queue that is not empty.
func (q *queue) top() int64 { return q.lanes[0].priority }

// push adds a task behind those of its priority.
func (q *queue) push(t *task) {
	l := q.lane(t.priority())
	if t.prev = l.last; t.prev != nil {
		t.prev.next = t
	} else {
		l.first = t
	}
	l.last = t
	q.list(l)
}

// pushFront adds a task before those of its priority.
func (q *queue) pushFront(t *task) {
	l := q.lane(t.priority())
	if t.next = l.first; t.next != nil {
		t.next.prev = t
	} else {
		l.last = t
	}
	l.first = t
	q.list(l)
}

// pop takes the first of the tasks with the highest priority. The queue is not empty.
func (q *queue) pop() *task {
	l := q.lanes[0]
	t := l.first
	q.unlink(l, t)
	return t
}

// remove takes a task that is in the queue.
func (q *queue) remove(t *task) { q.unlink(q.lane(t.priority()), t) }

func (q *queue) unlink(l *lane, t *task) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.last = t.prev
	}
	t.prev, t.next = nil, nil
	if l.first == nil {
		heap.Remove(&q.lanes, l.at)
		q.tidy(l)
	}
}

// lane returns the lane of a priority.
func (q *queue) lane(priority int64) *lane {
	if q.recent != nil && q.recent.priority == priority {
		return q.recent
	}
	l := q.named[priority]
	if l == nil {
		l = &lane{priority: priority, at: -1}
		if q.named == nil {
			q.named = make(map[int64]*lane)
		}
		q.named[priority] = l
	}
	old := q.recent
	q.recent = l
	if old != nil {
		q.tidy(old)
	}
	return l
}

// list makes known that a lane has tasks.
func (q *queue) list(l *lane) {
	if l.at < 0 {
		heap.Push(&q.lanes, l)
	}
}

// tidy forgets a lane that is of no more use.
func (q *queue) tidy(l *lane) {
	if l.first == nil && l != q.recent {
		delete(q.named, l.priority)
	}
}

// lanes is a container/heap.
type lanes []*lane

func (ls lanes) Len() int           { return len(ls) }
func (ls lanes) Less(i, j int) bool { return ls[i].priority > ls[j].priority }
func (ls lanes) Swap(i, j int) {
	ls[i], ls[j] = ls[j], ls[i]
	ls[i].at, ls[j].at = i, j
}
func (ls *lanes) Push(x any) {
	l := x.(*lane)
	l.at = len(*ls)
	*ls = append(*ls, l)
}
func (ls *lanes) Pop() any {
	last := len(*ls) - 1
	l := (*ls)[last]
	(*ls)[last] = nil
	*ls = (*ls)[:last]
	l.at = -1
	return l
}
