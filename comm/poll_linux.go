package comm

import (
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
)

// A polled connection looks for bytes a few times before it parks: waking a process that sleeps on another processor
// takes some 40 us, several times as long as the answer to a short question. It yields to the kernel between looks, so
// that whoever is to answer gets the processor, and lets this process's own goroutines run first. One reader of a
// process polls at a time, and those that look in vain look less often.
type polled struct {
	net.Conn
	raw    syscall.RawConn
	misses int // in a row; owned by the reader
	skip   int // reads to go before the next poll
}

const (
	pollLooks  = 50
	pollMisses = 4  // in a row, after which most reads do not poll
	pollSkips  = 32 // that do not
)

var polling atomic.Bool

// poll wraps a connection, if it pays: not where more processes of the job share this machine than it has processors.
func poll(conn net.Conn, neighbours int) net.Conn {
	sc, ok := conn.(syscall.Conn)
	if !ok || neighbours > runtime.NumCPU() {
		return conn
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return conn
	}
	return &polled{Conn: conn, raw: raw}
}

// SyscallConn lets frames be written without blocking.
func (p *polled) SyscallConn() (syscall.RawConn, error) { return p.raw, nil }

func (p *polled) Read(b []byte) (int, error) {
	if p.skip > 0 {
		p.skip--
		return p.Conn.Read(b)
	}
	if len(b) > 0 && polling.CompareAndSwap(false, true) {
		runtime.Gosched()
		n, err := p.look(b)
		polling.Store(false)
		if n > 0 || err != nil {
			p.misses = 0
			return n, err
		}
		if p.misses++; p.misses >= pollMisses {
			p.skip = pollSkips
		}
	}
	return p.Conn.Read(b)
}

// look reads what comes within some looks; 0 bytes and no error if nothing does.
func (p *polled) look(b []byte) (n int, err error) {
	rerr := p.raw.Read(func(fd uintptr) bool {
		for range pollLooks {
			n, err = syscall.Read(int(fd), b)
			if err != syscall.EAGAIN && err != syscall.EINTR {
				if n == 0 && err == nil {
					err = io.EOF
				}
				return true
			}
			err = nil
			syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
		}
		return true
	})
	if err == nil {
		err = rerr
	}
	return max(n, 0), err
}
