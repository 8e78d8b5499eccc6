package agent

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// outlet is the launcher's own standard output, inherited: what ranks of one machine print then passes through one
// process less.
type outlet struct {
	file   *os.File
	broken func(syscall.Errno) // told of the first error

	mu    sync.Mutex // held while writing, so that lines do not mix
	total int        // bytes written; guarded by mu
	shut  bool       // nothing more is written; guarded by mu
}

// openOutlet returns nil where a reader that has stalled could not be left alone.
func openOutlet(stdout *os.File, broken func(syscall.Errno)) *outlet {
	if stdout == nil {
		return nil
	}
	st, err := stdout.Stat()
	if err != nil {
		return nil
	}
	switch {
	case st.Mode().IsRegular():
		return &outlet{file: stdout, broken: broken}
	case st.Mode()&os.ModeNamedPipe != 0:
		if file := reopenPipe(stdout, os.O_WRONLY); file != nil {
			return &outlet{file: file, broken: broken}
		}
	}
	return nil
}

// write writes all of b, or nothing more ever after.
func (o *outlet) write(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shut {
		return
	}
	if o.total < pipeLen && o.total+len(b) >= pipeLen {
		if raw, err := o.file.SyscallConn(); err == nil {
			enlarge(raw) // fails on a file
		}
	}
	o.total += len(b)
	if _, err := o.file.Write(b); err != nil {
		o.shut = true
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			o.broken(errno)
		}
	}
}

// close ends a write that waits for the reader.
func (o *outlet) close() {
	if o != nil {
		o.file.SetWriteDeadline(time.Unix(1, 0))
	}
}
