package launch

import (
	"os"

	"github.com/pprun/pprun/launch/agent"
	"golang.org/x/sys/unix"
)

// widenAfter is what shows that the ranks read on, and not just a line.
const widenAfter = 64 << 10

// pipeView looks into a pipe: it makes a pipe of its own hold the same pages.
type pipeView struct {
	fd    int
	r, w  int      // of the own pipe, empty between calls
	null  *os.File // where bytes go that nobody needs
	taken int      // bytes
}

func newPipeView(fd int) (view, error) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		null.Close()
		return nil, os.NewSyscallError("pipe2", err)
	}
	v := &pipeView{fd: fd, r: p[0], w: p[1], null: null}
	v.match()
	return v, nil
}

// match gives the own pipe as much room as the other has. Where that cannot be, less is seen at a time.
func (v *pipeView) match() {
	if n, err := unix.FcntlInt(uintptr(v.fd), unix.F_GETPIPE_SZ, 0); err == nil {
		unix.FcntlInt(uintptr(v.w), unix.F_SETPIPE_SZ, n)
	}
}

// widen lets a pipe hold all that ranks may be sent ahead, once much has passed: it stays there until they have read it.
func (v *pipeView) widen() {
	if n, err := unix.FcntlInt(uintptr(v.fd), unix.F_GETPIPE_SZ, 0); err == nil && n < agent.StdinWindow {
		unix.FcntlInt(uintptr(v.fd), unix.F_SETPIPE_SZ, agent.StdinWindow)
		v.match()
	}
}

func (v *pipeView) peek(b []byte, skip int) (int, error) {
	copied, err := again(func() (int64, error) { return unix.Tee(v.fd, v.w, skip+len(b), unix.SPLICE_F_NONBLOCK) })
	if err == unix.EAGAIN {
		return 0, nil
	}
	if err != nil {
		return 0, os.NewSyscallError("tee", err)
	}
	n := int(copied)
	for skip = min(skip, n); skip > 0; {
		m, err := v.drop(v.r, skip)
		if err != nil {
			return 0, err
		}
		skip, n = skip-m, n-m
	}
	for got := 0; got < n; {
		m, err := again(func() (int, error) { return unix.Read(v.r, b[got:n]) })
		if err != nil {
			return 0, os.NewSyscallError("read", err)
		}
		got += m
	}
	return n, nil
}

func (v *pipeView) take(n int) (int, error) {
	m, err := v.drop(v.fd, n)
	if v.taken += m; v.taken >= widenAfter && v.taken-m < widenAfter {
		v.widen()
	}
	return m, err
}

// drop takes up to n bytes out of a pipe without copying them.
func (v *pipeView) drop(pipe, n int) (int, error) {
	m, err := again(func() (int64, error) { return unix.Splice(pipe, nil, int(v.null.Fd()), nil, n, unix.SPLICE_F_NONBLOCK) })
	return int(max(m, 0)), os.NewSyscallError("splice", err)
}

func (v *pipeView) close() {
	unix.Close(v.r)
	unix.Close(v.w)
	v.null.Close()
}
