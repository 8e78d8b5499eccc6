package ssh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// AskTerminal asks for the passphrase of a key on the terminal of the process, never on stdin. In the background, where
// asking would stop the process, there is no terminal.
func AskTerminal(ctx context.Context, keyFile string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil || inBackground(tty) {
		tty.Close() // nil is allowed
		return nil, errors.New("there is no terminal to ask for its passphrase on: load it into an agent first: ssh-add " + keyFile)
	}
	defer tty.Close()
	raw, err := tty.SyscallConn() // tty.Fd would make reads uninterruptible
	if err != nil {
		return nil, err
	}
	var state *term.State
	var stateErr error
	if err := raw.Control(func(fd uintptr) { state, stateErr = term.MakeRaw(int(fd)) }); err != nil || stateErr != nil {
		return nil, errors.Join(err, stateErr)
	}
	defer raw.Control(func(fd uintptr) { term.Restore(int(fd), state) })
	stop := context.AfterFunc(ctx, func() { tty.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := term.NewTerminal(tty, "").ReadPassword(fmt.Sprintf("Passphrase of key %s: ", keyFile))
	if err != nil { // the cursor is still behind the question
		tty.WriteString("\r\n")
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.New("no passphrase was given")
	}
	return []byte(line), nil
}

// inBackground reports whether another group of processes has the terminal.
func inBackground(tty *os.File) bool {
	raw, err := tty.SyscallConn()
	if err != nil {
		return false
	}
	group := unix.Getpgrp()
	raw.Control(func(fd uintptr) {
		if foreground, err := unix.IoctlGetInt(int(fd), unix.TIOCGPGRP); err == nil {
			group = foreground
		}
	})
	return group != unix.Getpgrp()
}
