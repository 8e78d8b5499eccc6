package agent

import (
	"net"
	"os"
)

// Pair makes a connection between this process and an agent that it is about to start: our end, which knows deadlines, and
// the agent's, which no other child inherits.
func Pair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := cloexecPair()
	if err != nil {
		return nil, nil, err
	}
	own := os.NewFile(uintptr(fds[0]), "agent")
	defer own.Close()
	theirs = os.NewFile(uintptr(fds[1]), "launcher")
	conn, err := net.FileConn(own)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}
