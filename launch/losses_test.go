package launch

import (
	"fmt"
	"slices"
	"testing"
)

func TestLossLines(t *testing.T) {
	var list []loss
	for rank := 1; rank <= 5; rank++ {
		list = append(list, loss{rank: rank, host: fmt.Sprintf("node%d", 1+rank/3), process: &Process{PID: 100 + rank, Wall: 0.123}, how: "killed",
			then: fmt.Sprintf("started again (%d of 3)", rank%2+1), thens: "started again", quiet: true})
	}
	list = append(list,
		loss{rank: 6, host: "node2", process: &Process{PID: 7, Wall: 75.4}, how: "killed", then: "its tasks are redone elsewhere", thens: "their tasks are redone elsewhere"},
		loss{rank: 7, host: "node2", how: "cannot be started again: no such file", then: "its tasks are redone elsewhere"},
		loss{rank: 8, host: "node2", process: &Process{PID: 9, Wall: 12}, how: "exit status 3"},
	)
	for rank := 9; rank <= 12; rank++ {
		list = append(list, loss{rank: rank, host: "node3", process: &Process{Tasks: []string{"f", fmt.Sprint("\x1b", rank), "f"}}, how: "exit status 4", stderr: []string{"oh"}})
	}
	list = append(list, loss{rank: 13, host: "node3", process: &Process{PID: 1, Wall: 1, Tasks: []string{"f", "g"}}, how: "exit status 5", then: "gone", stderr: []string{"a", "b"}})
	want := []lossLine{
		{"ranks 1-5 on node[1-2]: killed: started again", true},
		{"rank 6 on node2 (pid 7, after 1m15s): killed: its tasks are redone elsewhere", false},
		{"rank 7 on node2: cannot be started again: no such file: its tasks are redone elsewhere", false},
		{"rank 8 on node2 (pid 9, after 12s): exit status 3", false},
		{`ranks 9-12 on node3, running f, "\x1b9", "\x1b10", others: exit status 4`, false},
		{"rank 13 on node3 (pid 1, after 1s, running f, g): exit status 5: gone\nthe end of its standard error:\n  a\n  b", false},
	}
	if got := lossLines(list); !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := lossLines(list[:3]); len(got) != 3 || got[0].text != "rank 1 on node1 (pid 101, after 120ms): killed: started again (2 of 3)" {
		t.Errorf("few are told one by one: %+v", got)
	}
}
