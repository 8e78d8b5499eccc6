//go:build linux

package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
)

// BenchmarkSpawn is a whole job of ranks that end at once: start of the agent to done.
func BenchmarkSpawn(b *testing.B) {
	for _, n := range []int{2, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				l := launchAgent(b)
				l.hello(time.Second)
				s := sh(n, "")
				s.Program, s.Args = Program{Path: "true"}, nil
				l.start(s)
				l.exited(n)
				l.sendID(KindBye, 0)
				<-l.done
				l.cmd.Wait()
			}
		})
	}
}

// BenchmarkRelay carries the standard output of one rank.
func BenchmarkRelay(b *testing.B) {
	for b.Loop() {
		l := launchAgent(b)
		l.discard = true
		l.hello(time.Second)
		l.start(testProgram(1, "lines"))
		l.exited(1)
		n := l.bytes
		b.SetBytes(int64(n))
		l.sendID(KindBye, 0)
		<-l.done
		l.cmd.Wait()
	}
}

// take without keeping the bytes, as a launcher that writes them to a file would.
func (l *launcher) count(h frame.Header) {
	l.bytes += int(h.Len)
	l.owed += int(h.Len)
	if l.owed >= OutputWindow/4 {
		l.conn.Send(frame.Header{Kind: KindOutputCredit, ID: uint64(l.owed)}, nil)
		l.owed = 0
	}
}
