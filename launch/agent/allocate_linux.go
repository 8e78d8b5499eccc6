package agent

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate makes an empty file size bytes long and takes the room for them, where the file system can.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, max(size, 1))
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, e) {
			return e
		}
	}
	return nil
}
