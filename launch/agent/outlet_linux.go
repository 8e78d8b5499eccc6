package agent

import (
	"os"
	"strconv"
	"syscall"
)

// reopenPipe opens the pipe behind f once more, so that it is this process alone that does not block on it.
func reopenPipe(f *os.File) *os.File {
	path := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	again, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	return again
}
