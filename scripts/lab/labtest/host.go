package labtest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Host is one host of a lab: head, node1, node2, ... or bastion.
type Host struct {
	lab  *Lab
	name string
}

// Host is the host of that name.
func (l *Lab) Host(name string) Host { return Host{l, name} }

// Addr is the host's IP address.
func (h Host) Addr() string {
	h.lab.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.lab.dir, "hosts"))
	if err != nil {
		h.lab.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == h.name {
			return f[0]
		}
	}
	h.lab.t.Fatalf("labtest: no host %s", h.name)
	return ""
}

// Kill kills all processes of the host: peers see their connections close.
func (h Host) Kill() { h.lab.t.Helper(); h.lab.do("kill", h.name) }

// Crash is a power failure: the host is gone and peers see silence.
func (h Host) Crash() { h.lab.t.Helper(); h.lab.do("crash", h.name) }

// Boot starts a host after Kill or Crash, with fresh disks and a whole cable.
func (h Host) Boot() { h.lab.t.Helper(); h.lab.do("boot", h.name) }

// Cut pulls the network cable. Uncut plugs it in.
func (h Host) Cut() { h.lab.t.Helper(); h.lab.do("cut", h.name) }

// Uncut undoes Cut.
func (h Host) Uncut() { h.lab.t.Helper(); h.lab.do("uncut", h.name) }

// A Direction says which frames are lost, as the host sees it.
type Direction string

const (
	Both Direction = "both"
	In   Direction = "in"
	Out  Direction = "out"
)

// Drop loses all frames in a direction, silently. It replaces an earlier Drop.
func (h Host) Drop(d Direction) { h.lab.t.Helper(); h.lab.do("drop", h.name, string(d)) }

// DropIP is Drop but for ARP, so that peers go on believing in the host: their connects hang.
func (h Host) DropIP(d Direction) { h.lab.t.Helper(); h.lab.do("drop", h.name, string(d), "ip") }

// Undrop undoes Drop and DropIP.
func (h Host) Undrop() { h.lab.t.Helper(); h.lab.do("undrop", h.name) }

// Part makes two hosts lose all IP packets to each other on their first network. Unpart undoes it.
func (h Host) Part(other string) { h.lab.t.Helper(); h.lab.do("part", h.name, other) }

// Unpart undoes Part.
func (h Host) Unpart(other string) { h.lab.t.Helper(); h.lab.do("unpart", h.name, other) }

// Plug gives the host a second cable, eth2, to a second network of all that have one. It lasts until the host goes down.
func (h Host) Plug() { h.lab.t.Helper(); h.lab.do("plug", h.name) }

// Loss loses a percentage of frames at random, each way. 0 undoes it.
func (h Host) Loss(percent int) { h.lab.t.Helper(); h.lab.do("loss", h.name, strconv.Itoa(percent)) }

// Rate limits each direction to what tc calls a rate, such as "10mbit". "0" undoes it.
func (h Host) Rate(rate string) { h.lab.t.Helper(); h.lab.do("rate", h.name, rate) }

// Delay delays each direction. 0 undoes it.
func (h Host) Delay(d time.Duration) {
	h.lab.t.Helper()
	if d == 0 {
		h.lab.do("delay", h.name, "0")
		return
	}
	h.lab.do("delay", h.name, d.String())
}

// Freeze stops all processes of the host. Its kernel goes on: it accepts connections and acknowledges data.
func (h Host) Freeze() { h.lab.t.Helper(); h.lab.do("freeze", h.name) }

// Thaw undoes Freeze.
func (h Host) Thaw() { h.lab.t.Helper(); h.lab.do("thaw", h.name) }

// SSHD does to the host's sshd what `lab sshd` does: "stop", "start", "restart" (the listener only; sessions live on),
// or "conf" with lines that go before all others of sshd_config and replace those of an earlier conf.
func (h Host) SSHD(verb string, lines ...string) {
	h.lab.t.Helper()
	h.lab.do(append([]string{"sshd", h.name, verb}, lines...)...)
}

// Shell sets a user's login shell, by name or path.
func (h Host) Shell(user, shell string) { h.lab.t.Helper(); h.lab.do("shell", h.name, user, shell) }

// FS changes the file system at a path of the host: "noexec", "ro", "size=8m" (a tmpfs: /tmp, /home, /root, /dev/shm
// ...), or "rw", which undoes the first two.
func (h Host) FS(path, option string) { h.lab.t.Helper(); h.lab.do("fs", h.name, path, option) }
