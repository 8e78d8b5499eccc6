package agent

import (
	"encoding/json"
	"os"
	"sync"
	"syscall"
	"time"
)

// An Entry is what an agent tells the ppserver that started it of its client's job: one line of JSON on a descriptor of its
// own (--ledger). Strings come from the client.
type Entry struct {
	What    string        `json:"what"` // EntryStart, EntryExit
	Job     string        `json:"job,omitempty"`
	Program string        `json:"program,omitempty"` // base name, or the path that is not staged
	SHA256  string        `json:"sha256,omitempty"`  // of a staged program
	Ranks   int           `json:"ranks,omitempty"`   // processes that were started
	Status  int           `json:"status,omitempty"`  // of a process that has ended: exit status, or 128+signal
	Wall    time.Duration `json:"wall,omitempty"`    // that it ran
}

// What an Entry tells.
const (
	EntryStart = "start"
	EntryExit  = "exit"
)

// EntryLen is the longest line of a ledger.
const EntryLen = 4 << 10

// ledger is where an agent writes its entries.
type ledger struct {
	mu   sync.Mutex
	file *os.File // nil: nobody reads it
}

// inheritedLedger takes over descriptor fd; there is none below 0.
func inheritedLedger(fd int) *os.File {
	if fd < 0 {
		return nil
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ledger")
}

func (l *ledger) write(e Entry) {
	if l.file == nil {
		return
	}
	b, err := json.Marshal(e)
	if err != nil || len(b) >= EntryLen {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Write(append(b, '\n')) // without a server this agent ends anyhow
}

// enterStart tells that so many processes of the job run.
func (a *agent) enterStart(p Program, ranks int) {
	e := Entry{What: EntryStart, Job: a.hello.Job, Program: clip(p.Path, EntryLen/8), Ranks: ranks}
	if st := a.stages[p.Stage]; st != nil {
		e.Program, e.SHA256 = st.Name, st.Digest
	}
	a.ledger.write(e)
}

// enterExit tells that one has ended.
func (a *agent) enterExit(x Exit) {
	e := Entry{What: EntryExit, Status: x.Code, Wall: x.Wall}
	if x.Signal != 0 {
		e.Status = 128 + x.Signal
	}
	a.ledger.write(e)
}

func clip(s string, n int) string { return s[:min(len(s), n)] }
