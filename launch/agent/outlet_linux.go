package agent

import (
	"os"
	"strconv"
	"syscall"
)

// reopenPipe opens the pipe behind f once more, to read or to write, so that it is this process alone that does not block
// on it. It returns nil where that cannot be.
func reopenPipe(f *os.File, mode int) *os.File {
	path := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	again, err := os.OpenFile(path, mode|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	return again
}
