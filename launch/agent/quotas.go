package agent

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Quotas are what a ppserver allows each client. Zero: as much as it likes.
type Quotas struct {
	Ranks     int           `json:"ranks,omitempty"`
	Upload    int64         `json:"upload,omitempty"` // bytes of all files that it sends
	Time      time.Duration `json:"time,omitempty"`   // of its job
	File      int64         `json:"file,omitempty"`   // bytes of a file that a rank writes, or the agent for it
	Processes int           `json:"processes,omitempty"`
	ByUser    bool          `json:"by_user,omitempty"` // Processes are all those of its user; else a control group counts them
}

// Set reads the JSON that String makes, so that they pass as a flag.
func (q *Quotas) Set(s string) error { return json.Unmarshal([]byte(s), q) }

func (q *Quotas) String() string {
	b, _ := json.Marshal(q)
	return string(b)
}

// limit limits this process, and all that it will start.
func (q *Quotas) limit() error {
	if q.Processes > 0 {
		readyProcess()
	}
	for what, most := range map[int]int64{unix.RLIMIT_FSIZE: q.File, unix.RLIMIT_NPROC: int64(q.Processes)} {
		if most == 0 || what == unix.RLIMIT_NPROC && !q.ByUser {
			continue
		}
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: uint64(most), Max: uint64(most)}); err != nil {
			return fmt.Errorf("limits of a client: %w", err)
		}
	}
	return nil
}

// over is a failure that names the flag of ppserver which allows no more.
func (a *agent) over(phase, what, flag, most string) *Failure {
	return &Failure{Phase: phase, Rank: -1, Code: 125, Text: fmt.Sprintf("%s on %s: its ppserver allows a client %s", what, a.host, most),
		Fix: fmt.Sprintf("ask for less, or raise %s there", flag)}
}

// checkUpload counts a file that the launcher is to send.
func (a *agent) checkUpload(st *Stage) error {
	if most := a.cfg.Quotas.File; most > 0 && st.Size > most {
		return a.over("stage", fmt.Sprintf("%s has %s", st.Name, megabytes(st.Size)), "--max-file", megabytes(most)+" in a file")
	}
	all := a.uploads.Add(st.Size)
	if most := a.cfg.Quotas.Upload; most > 0 && (all > most || all < 0) {
		return a.over("stage", fmt.Sprintf("%s has %s", st.Name, megabytes(st.Size)), "--max-upload", megabytes(most)+" in all")
	}
	return nil
}

// checkRanks holds a start against the quota.
func (a *agent) checkRanks(s *Start) error {
	if most := a.cfg.Quotas.Ranks; most > 0 && len(s.Ranks) > most {
		return a.over("start", fmt.Sprintf("%d ranks", len(s.Ranks)), "--max-ranks", strconv.Itoa(most))
	}
	return nil
}

// limitTime loses the launcher when its time is over, so that its ranks elsewhere may go on.
func (a *agent) limitTime() (stop func() bool) {
	most := a.cfg.Quotas.Time
	if most == 0 {
		return func() bool { return true }
	}
	return time.AfterFunc(most, func() {
		a.note("%s: the ppserver there ends what a client runs for longer than %v (--max-time)", a.host, most)
		a.lost(fmt.Errorf("its %v are over", most))
	}).Stop
}

// noteQuota tells the user of a rank that a quota has ended.
func (a *agent) noteQuota(x Exit) {
	if most := a.cfg.Quotas.File; most > 0 && x.Signal == int(syscall.SIGXFSZ) {
		a.note("rank %d on %s has written a file larger than %s, which its ppserver allows (--max-file)", x.Rank, a.host, megabytes(most))
	}
}

// noProcess explains that the system has no further process.
func (a *agent) noProcess(p *plan) *Failure {
	if most := a.cfg.Quotas.Processes; most > 0 {
		return a.over("start", "no further process can be started", "--max-processes", fmt.Sprintf("%d, with their threads", most))
	}
	return a.unfit(125, p.path, "no further process can be started: "+syscall.EAGAIN.Error(), "raise ulimit -u there, or the limit of its control group")
}

// ParseSize reads a number of bytes: 1048576, 1024K, 1M, 1MB or 1MiB, which are all the same.
func ParseSize(s string) (int64, error) {
	text := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(s)), "B"), "I")
	shift := 0
	if i := strings.IndexAny("KMGT", text[max(0, len(text)-1):]); i >= 0 && text != "" {
		shift, text = 10*(i+1), text[:len(text)-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n<<shift>>shift != n {
		return 0, fmt.Errorf("%q: want a number of bytes, such as 500M or 2G", s)
	}
	return n << shift, nil
}
