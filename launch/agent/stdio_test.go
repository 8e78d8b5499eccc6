//go:build linux

package agent

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

const linesLen = 500 * 65536

func init() {
	programs["slow-sum"] = func() { // reads slowly at first
		h := sha256.New()
		buf := make([]byte, 4096)
		var total int64
		for {
			n, err := os.Stdin.Read(buf)
			h.Write(buf[:n])
			if total += int64(n); total < 40_000 {
				time.Sleep(5 * time.Millisecond)
			}
			if err != nil {
				break
			}
		}
		fmt.Printf("%d %x\n", total, h.Sum(nil))
	}
	programs["lines"] = func() { // linesLen bytes
		line := bytes.Repeat([]byte("0123456789abcde\n"), 4096)
		for range linesLen / len(line) {
			os.Stdout.Write(line)
		}
	}
}

// feed sends n bytes of input to a rank under credit.
func (l *launcher) feed(rank uint32, b []byte) {
	l.t.Helper()
	l.mu.Lock()
	l.credit[rank] += StdinWindow
	l.mu.Unlock()
	for len(b) > 0 {
		var n int
		l.wait("credit", func() bool { n = min(len(b), l.credit[rank], ChunkLen); return n > 0 })
		l.mu.Lock()
		l.credit[rank] -= n
		l.mu.Unlock()
		if err := l.conn.Send(frame.Header{Kind: KindStdin, Dst: rank}, b[:n]); err != nil {
			l.t.Fatal(err)
		}
		b = b[n:]
	}
	l.conn.Send(frame.Header{Kind: KindStdin, Dst: rank}, nil)
}

// fill sends a rank as much as it may be sent at the start.
func (l *launcher) fill(rank uint32) {
	l.t.Helper()
	for range StdinWindow / ChunkLen {
		if err := l.conn.Send(frame.Header{Kind: KindStdin, Dst: rank}, make([]byte, ChunkLen)); err != nil {
			l.t.Fatal(err)
		}
	}
}

func TestStdinFlows(t *testing.T) {
	t.Parallel()
	l := launchAgent(t)
	l.hello(time.Second)
	s := testProgram(2, "slow-sum")
	s.Ranks[1].Stdin = StdinForward // rank 0 has none
	l.start(s)
	data := make([]byte, 20_000_000)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	l.feed(1, data)
	l.exited(2)
	if got, want := l.out[1].String(), fmt.Sprintf("%d %x\n", len(data), sha256.Sum256(data)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := l.out[0].String(), fmt.Sprintf("0 %x\n", sha256.Sum256(nil)); got != want {
		t.Errorf("rank without input: got %q, want %q", got, want)
	}
	l.bye()
}

func TestUnreadStdinHoldsUpNothing(t *testing.T) {
	t.Parallel()
	l := launchAgent(t)
	l.hello(time.Second)
	s := sh(3, `case $PPRUN_RANK in
		0) sleep 0.2;;              # never reads
		1) exec <&-; sleep 0.2;;    # closes it: the rest is dropped
		2) sleep 1000 & exec sh -c 'exit 3';; # leaves who holds the pipe
		esac`)
	for i := range s.Ranks {
		s.Ranks[i].Stdin = StdinForward
	}
	l.start(s)
	for r := range s.Ranks {
		l.fill(uint32(r))
	}
	if x := l.exited(3); x[0].Code != 0 || x[1].Code != 0 || x[2].Code != 3 {
		t.Errorf("%+v", x)
	}
	l.bye()
}

// Credit comes for what a rank has read, also where it runs on and reads no more.
func TestStdinCreditFollowsTheRank(t *testing.T) {
	t.Parallel()
	l := launchAgent(t)
	l.hello(time.Second)
	s := sh(3, `case $PPRUN_RANK in
		0) exec sleep 1000;;
		1) head -c 3 | wc -c; exec sleep 1000;;
		2) head -c 100000 | wc -c; exec sleep 1000;; # behind it much is left
		esac`)
	for i := range s.Ranks {
		s.Ranks[i].Stdin = StdinForward
	}
	l.start(s)
	for rank, n := range []int{150_000, 10, 150_000} {
		l.conn.Send(frame.Header{Kind: KindStdin, Dst: uint32(rank)}, make([]byte, n))
	}
	l.wait("credit", func() bool { return l.credit[1] >= 3 && l.credit[2] >= 100_000 })
	l.conn.Send(frame.Header{Kind: KindKill}, nil)
	for rank, x := range l.exited(3) {
		want := []int64{0, 3, 100_000}[rank]
		if credit := int64(l.credit[uint32(rank)]); x.StdinRead != want || credit != want {
			t.Errorf("rank %d has read %d bytes, want %d; credit for %d", rank, x.StdinRead, want, credit)
		}
	}
	l.bye()
}

func TestClosedStdinIsToldOf(t *testing.T) {
	t.Parallel()
	l := launchAgent(t)
	l.hello(time.Second)
	s := sh(1, `head -c 3; exec <&-; echo; exec sleep 1000`)
	s.Ranks[0].Stdin = StdinForward
	l.start(s)
	l.conn.Send(frame.Header{Kind: KindStdin}, []byte("abcdef"))
	l.wait("the rank to close its input", func() bool { return l.out[0] != nil && l.out[0].String() == "abc\n" })
	l.conn.Send(frame.Header{Kind: KindStdin}, []byte("ghi"))
	l.wait("the end of credit", func() bool { return l.refused[0] })
	l.conn.Send(frame.Header{Kind: KindKill}, nil)
	if x := l.exited(1)[0]; x.StdinRead != 3 {
		t.Errorf("it read %d bytes, want 3", x.StdinRead)
	}
	l.bye()
}

func TestInheritedStdin(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	io.WriteString(w, "one\ntwo\n")
	w.Close()
	stdin := os.Stdin
	os.Stdin = r // what launchAgent gives to the agent
	l := launchAgent(t)
	os.Stdin = stdin
	l.hello(time.Second)
	s := sh(1, "read x; echo got $x")
	s.Ranks[0].Stdin = StdinInherit
	l.start(s)
	l.exited(1)
	if rest, _ := io.ReadAll(r); l.out[0].String() != "got one\n" || string(rest) != "two\n" {
		t.Errorf("rank printed %q, left %q", l.out[0], rest)
	}
	l.bye()
}

func TestInputBeyondCreditBreaksTheProtocol(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	s := sh(1, "sleep 1000")
	s.Ranks[0].Stdin = StdinForward
	l.start(s)
	l.fill(0)
	l.conn.Send(frame.Header{Kind: KindStdin}, make([]byte, 1))
	<-l.done
	if err := l.cmd.Wait(); err == nil {
		t.Error("the agent took it")
	}
	l.nothingLeft()
}

func TestLines(t *testing.T) {
	t.Parallel()
	l := launchAgent(t)
	l.hello(time.Second)
	long := ChunkLen + 1000
	l.start(sh(1, fmt.Sprintf(`printf 'a\nb'; sleep 0.3; printf 'c\nd\n'; head -c %d /dev/zero | tr '\0' x; printf '\nend'`, long)))
	l.exited(1)
	want := "a\nbc\nd\n" + strings.Repeat("x", long) + "\nend"
	if got := l.out[0].String(); got != want {
		t.Errorf("%d bytes, want %d: %.20q...", len(got), len(want), got)
	}
	var frames []frame.Header
	var lens, end int
	for _, h := range l.frames {
		if h.Kind != KindStdout {
			continue
		}
		frames = append(frames, h)
		lens, end = lens+int(h.Len), end+int(h.Len)
		if part := want[:end]; (h.Flags == frame.More) == strings.HasSuffix(part, "\n") {
			t.Errorf("frame %d ends with %q, flags %d", len(frames), part[max(0, end-3):], h.Flags)
		}
	}
	if n := slices.IndexFunc(frames, func(h frame.Header) bool { return h.Flags == frame.More }); n < 0 {
		t.Error("the begun line was not flushed")
	}
	l.bye()
}

func TestBackgroundChildHoldsStdout(t *testing.T) {
	t.Parallel()
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(1, `(sleep 1000; echo never) & echo last words; exit 4`))
	if x := l.exited(1)[0]; x.Code != 4 || l.out[0].String() != "last words\n" {
		t.Errorf("%+v, %q", x, l.out[0])
	}
	l.bye()
}

func TestSlowLauncher(t *testing.T) {
	t.Parallel()
	l := launchAgent(t)
	l.hello(time.Second)
	l.mu.Lock()
	l.hold = true
	l.mu.Unlock()
	l.start(testProgram(1, "lines"))
	l.wait("the window to be used up", func() bool { return l.owed > OutputWindow-ChunkLen })
	l.wait("a beat all the same", func() bool { return l.beats > 0 })
	if l.owed > OutputWindow || len(l.exits) > 0 {
		t.Errorf("%d bytes came, %d exits", l.owed, len(l.exits))
	}
	l.mu.Lock()
	l.hold = false
	l.conn.Send(frame.Header{Kind: KindOutputCredit, ID: uint64(l.owed)}, nil)
	l.owed = 0
	l.mu.Unlock()
	l.exited(1)
	if n := l.out[0].Len(); n != linesLen {
		t.Errorf("%d bytes", n)
	}
	l.bye()
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	l := launchAgent(t)
	l.hello(time.Second)
	pids := l.start(sh(1, `sleep 1000 & exec sleep 1001`))
	stopped := func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pids[0]))
		return bytes.Contains(b, []byte(") T "))
	}
	l.sendID(KindSuspend, 0)
	until(t, "the rank to stop", stopped)
	l.sendID(KindResume, 0)
	until(t, "the rank to go on", func() bool { return !stopped() })
	syscall.Kill(pids[0], syscall.SIGSTOP) // by somebody else: worth a word
	l.wait("the word that it is stopped", func() bool { return len(l.stops) == 1 && l.stops[0] == pids[0] })
	l.sendID(KindSignal, uint64(syscall.SIGCONT))
	l.wait("the word that it goes on", func() bool { return len(l.stops) == 2 && l.stops[1] == 0 })
	l.sendID(KindKill, 5000)
	if x := l.exited(1)[0]; x.Signal != int(syscall.SIGTERM) {
		t.Errorf("%+v", x)
	}
	l.bye()
}

func TestSilence(t *testing.T) {
	t.Parallel()
	l := launchAgent(t)
	l.send(KindHello, Hello{Version: Version, Job: l.job, Host: "here", Heartbeat: time.Second})
	l.start(sh(1, "sleep 1000"))
	<-l.done
	l.nothingLeft()
}

func TestLastLine(t *testing.T) {
	big := strings.Repeat("x", 10_000)
	for b, want := range map[string]int{"": 0, "a": 0, "\n": 1, "a\nb": 2, "a\nb\n": 4, big: 0, "a\n" + big: 2, "a\n" + big + "\nb": 10_003} {
		if got := lastLine([]byte(b)); got != want {
			t.Errorf("%.10q of %d: %d, want %d", b, len(b), got, want)
		}
	}
}

// The end of a rank is told when its children have had a little time to write; of one that failed, others wait for it.
func TestFailureIsToldSooner(t *testing.T) {
	l := launchAgent(t)
	l.hello(time.Second)
	l.start(sh(2, `sleep 1000 & exit $PPRUN_RANK`))
	l.exited(2)
	if !slices.Equal(l.ended, []int{1, 0}) {
		t.Errorf("told in the order %v, want that of rank 1 first", l.ended)
	}
	l.bye()
}
