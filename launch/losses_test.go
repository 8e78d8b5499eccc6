package launch

import (
	"fmt"
	"slices"
	"testing"
)

func TestLossLines(t *testing.T) {
	var list []loss
	for rank := 1; rank <= 5; rank++ {
		list = append(list, loss{rank: rank, host: fmt.Sprintf("node%d", 1+rank/3), pid: 100 + rank, how: "killed", again: fmt.Sprintf("(%d of 3)", rank%2+1), quiet: true})
	}
	list = append(list,
		loss{rank: 6, host: "node2", pid: 7, how: "killed", then: "not started again after 3 times"},
		loss{rank: 7, host: "node2", how: "cannot be started again: no such file"},
		loss{rank: 8, host: "node2", pid: 9, how: "exit status 3", counts: true, then: "the others go on"},
	)
	want := []lossLine{
		{"ranks 1-5 on node[1-2]: killed: their tasks are redone, started again", true},
		{"rank 6 on node2 (pid 7): killed: its tasks are redone elsewhere, not started again after 3 times", false},
		{"rank 7 on node2: cannot be started again: no such file: its tasks are redone elsewhere", false},
		{"rank 8 on node2 (pid 9): exit status 3: the others go on", false},
	}
	if got := lossLines(list); !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := lossLines(list[:3]); len(got) != 3 || got[0].text != "rank 1 on node1 (pid 101): killed: its tasks are redone, started again (2 of 3)" {
		t.Errorf("few are told one by one: %+v", got)
	}
}
