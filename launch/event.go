package launch

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"unicode"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/comm/place"
	"github.com/pprun/pprun/launch/agent"
)

// event is what a goroutine of the job, or the agent of a node, has to say to the job.
type event struct {
	node *node // nil: not of a node
	what any
}

// What agents say that is no structured payload.
type (
	have   struct{ id uint64 }
	want   struct{ id uint64 }
	staged struct {
		id uint64
		agent.Staged
	}
	credit struct {
		rank  int
		bytes int
	}
	role struct {
		rank int
		role place.Role
	}
	note   string
	joined struct{}
	able   struct{}
)

// decode turns a frame of the agent into an event.
func decode(h frame.Header, payload []byte) (any, error) {
	switch h.Kind {
	case agent.KindReady:
		return said[agent.Ready](payload)
	case agent.KindHave:
		return have{h.ID}, nil
	case agent.KindWant:
		return want{h.ID}, nil
	case agent.KindStaged:
		s, err := said[agent.Staged](payload)
		return staged{h.ID, s}, err
	case agent.KindListening:
		return said[agent.Listening](payload)
	case agent.KindStarted:
		return agent.Decode[agent.Started](payload)
	case agent.KindStdinCredit:
		return credit{int(h.Src), int(h.ID)}, nil
	case agent.KindRole:
		return role{int(h.Src), place.Role(h.ID)}, nil
	case agent.KindRespawned:
		return said[agent.Respawned](payload)
	case agent.KindExit:
		return agent.Decode[agent.Exit](payload)
	case agent.KindFailure:
		return said[agent.Failure](payload)
	case agent.KindNote:
		return note(oneLine(string(payload))), nil
	case agent.KindRelayed:
		return relayed(oneLine(string(payload))), nil
	case agent.KindRan:
		return said[place.Ran](payload)
	case agent.KindJoined:
		return joined{}, nil
	case agent.KindAble:
		return able{}, nil
	case agent.KindMissed:
		return place.Missed{Rank: int(h.Src), Incarnation: h.Dst, How: place.Hearing(h.ID)}, nil
	case agent.KindStopped:
		return stopped{int(h.Src), int(h.ID)}, nil
	case agent.KindUnwritable:
		return unwritable{"stdout", syscall.Errno(h.ID)}, nil
	case agent.KindDone:
		return said[agent.Done](payload)
	}
	return nil, fmt.Errorf("agent sent a frame of kind %d", h.Kind)
}

// said decodes a structured payload. Each of its strings becomes one line: what a node says must not begin a line of ours.
func said[T any](payload []byte) (v T, err error) {
	v, err = agent.Decode[T](payload)
	foldStrings(reflect.ValueOf(&v).Elem())
	return v, err
}

func foldStrings(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(oneLine(v.String()))
	case reflect.Struct:
		for i := range v.NumField() {
			foldStrings(v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.String {
			for i := range v.Len() {
				foldStrings(v.Index(i))
			}
		}
	}
}

// oneLine makes blanks of what would end a line, and of all other control characters.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// take takes in what a goroutine of ours or the agent of a node has to say.
func (j *job) take(e event) {
	n := e.node
	switch v := e.what.(type) {
	case arrived:
		j.arrive(n, v)
	case prepared:
		j.building = ""
		if j.program = v.program; v.err != nil {
			j.fail(v.err)
		}
	case adapted:
		if j.program.add(v); v.err != nil {
			j.fail(v.err)
		}
	case unreadable:
		j.cannotCopy(n, v.err)
	case unwritable:
		j.cannotWrite(v)
	case asking:
		j.meter.clear()
		j.asking++
		close(v.free)
	case answered:
		j.asking--
	case warning:
		j.warn("%s", string(v))
	case equipped:
		j.supply(n, v)
	case *addition:
		j.addNodes(v)
	case *removal:
		j.removeNode(v)
	case deserted:
		j.condemn(&verdict{status: 1})
	case lost:
		j.lose(n, v)
	case autopsy:
		j.losing(n, v.words)
	default:
		j.heed(n, v)
	}
	if n != nil && n.late != nil && n.pids == nil {
		j.advance(n)
	}
}

// heed takes in what the agent of a node says, as decode gives it.
func (j *job) heed(n *node, said any) {
	switch v := said.(type) {
	case agent.Ready:
		j.greet(n, v)
	case want:
		j.stream(n, v.id)
	case have:
		if s := j.copies(n)[v.id]; s != nil {
			s.leave(n.index)
		}
	case staged:
		n.staged++
		n.cached = n.cached || v.id == programID && v.Cached
	case agent.Listening:
		n.listening = &v
	case agent.Started:
		j.started(n, v)
	case credit:
		if slices.Contains(n.ranks, v.rank) && v.bytes >= 0 {
			j.stdin.credit(v)
		}
	case role:
		j.learn(n, v)
	case able:
		n.able = true
	case joined:
		j.joined = j.joined || n.index == j.placement.NodeOf[0]
	case agent.Exit:
		j.exited(n, v)
	case place.Ran:
		j.ran(n, v)
	case agent.Respawned:
		j.respawned(n, v)
	case agent.Failure:
		j.failed(n, v)
	case stopped:
		j.halt(n, v)
	case place.Missed:
		j.miss(n, v)
	case relayed:
		j.detour(n, v)
	case note:
		j.say("%s: %s", n.host.Host, string(v))
	case agent.Done:
		n.done, n.dropped = true, v
		if n.child != nil {
			n.child.done.Store(true)
		}
		if n.leaving {
			j.leave(n)
		}
	}
}
