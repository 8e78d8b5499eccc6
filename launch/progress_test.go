//go:build linux

package launch

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A terminal that was stopped, as by Ctrl-S, holds nothing up: what cannot be drawn is drawn when it goes on.
func TestMeterOfStoppedTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	defer tty.Close()
	stop := func(action int) {
		if err := unix.IoctlSetInt(int(tty.Fd()), unix.TCXONC, action); err != nil {
			t.Fatal(err)
		}
	}
	stop(unix.TCOOFF)
	m := newMeter(Config{Stderr: tty})
	m.shown = "a line"
	cleared := make(chan struct{})
	go func() { m.clear(); close(cleared) }()
	select {
	case <-cleared:
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for the terminal")
	}
	if m.shown == "" {
		t.Error("it takes the line for cleared")
	}
	stop(unix.TCOON)
	if m.clear(); m.shown != "" {
		t.Error("the line is not cleared")
	}
}
