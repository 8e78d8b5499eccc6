package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// secrets looks for the private keys of a job on two hosts, and for what its tasks are given, everywhere but in memory.
// Which keys there are it reads from the memory of the job's processes, as only root can; on a busy machine that takes long.
func secrets(t *testing.T, l lab) {
	for _, c := range []struct {
		name          string
		faults, found []string
	}{
		{name: "sound"},
		{name: "leaking", faults: []string{"argv hex", "env base64", "file raw", "unlinked raw", "log decimal"},
			found: []string{"cmdline", "environ", "/tmp/leak", "/fd/", "stderr", "report"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l.in(t)
			v := l.victim("head", append([]string{"-v", "--heartbeat-timeout", "5m", "--report", "/tmp/report.json", "--hosts", l.hosts, l.pprun, "victim"}, c.faults...)...)
			keys := privateKeys(l.memories())
			if len(keys) < 4 {
				t.Errorf("%d private keys in memory, want the authority's, the hub's and two nodes': this test sees too little", len(keys))
			}
			needles := [][]byte{[]byte(v.secret)}
			for _, k := range keys {
				needles = append(needles, forms(k)...)
			}
			found := l.search(needles)
			if said := []byte(v.end()); holdsAny(said, needles) {
				found = append(found, "stderr")
			}
			if report := l.Output("head", "sh", "-c", "cat /tmp/report.json; rm /tmp/report.json"); holdsAny([]byte(report), needles) {
				found = append(found, "report")
			} else if !strings.Contains(report, `"root_cause"`) {
				t.Errorf("the report is %q", report)
			}
			t.Logf("%d private keys, found in %q", len(keys), found)
			all := strings.Join(found, "\n")
			if len(c.found) == 0 && len(found) > 0 {
				t.Errorf("secrets in %q", found)
			}
			for _, want := range c.found {
				if !strings.Contains(all, want) {
					t.Errorf("secrets in %q, want %q among them", found, want)
				}
			}
		})
	}
}

// memories are the writable memories of the job's processes.
func (l lab) memories() (all [][]byte) {
	l.t.Helper()
	for _, host := range []string{"head", "node1", "node2"} {
		for _, p := range l.Processes(host) {
			dir := fmt.Sprintf("%s/proc/%d", l.Root(host), p.Pid)
			if exe, _ := os.Readlink(dir + "/exe"); !strings.Contains(exe, "sshd") && p.Pid != 1 {
				all = append(all, memory(dir)...)
			}
		}
	}
	return all
}

// memory is the writable memory of a process, from its directory in /proc: the pages that are there. Of what a race
// detector reserves most never are, and reading them would take gigabytes here.
func memory(dir string) (runs [][]byte) {
	maps, err := os.ReadFile(dir + "/maps")
	if err != nil {
		return nil
	}
	mem, err := os.Open(dir + "/mem")
	if err != nil {
		return nil
	}
	defer mem.Close()
	pages, err := os.Open(dir + "/pagemap")
	if err != nil {
		return nil
	}
	defer pages.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var rights string
		fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights)
		if !strings.HasPrefix(rights, "rw") || to-from > 256<<20 { // larger is the race detector's own
			continue
		}
		for first, last := range present(pages, from/pageSize, to/pageSize) {
			b := make([]byte, (last-first)*pageSize)
			n, _ := mem.ReadAt(b, first*pageSize)
			runs = append(runs, b[:n])
		}
	}
	return runs
}

var pageSize = int64(os.Getpagesize())

// present yields the runs of pages, of those from..to, that are in memory, as /proc/PID/pagemap has it in the highest of 64
// bits (proc_pid_pagemap(5)).
func present(pagemap io.ReaderAt, from, to int64) iter.Seq2[int64, int64] {
	const entry = 8
	return func(yield func(first, last int64) bool) {
		entries := make([]byte, (to-from)*entry)
		n, _ := pagemap.ReadAt(entries, from*entry)
		first := from
		for page := from; page <= to; page++ {
			at := int(page-from) * entry
			if at < n && binary.NativeEndian.Uint64(entries[at:])>>63 == 1 {
				continue
			}
			if page > first && !yield(first, page) {
				return
			}
			first = page + 1
		}
	}
}

// What stands before an Ed25519 key in DER, RFC 8410.
var (
	beforePublic, _  = hex.DecodeString("302a300506032b6570032100")
	beforePrivate, _ = hex.DecodeString("302e020100300506032b657004220420")
)

// privateKeys finds Ed25519 keys: the public half stands in a certificate or a request for one, the private half stands
// before another copy of it, as Go keeps keys, or in DER.
func privateKeys(memories [][]byte) (seeds [][]byte) {
	publics := map[string][]byte{} // with their private halves
	for _, m := range memories {
		each(m, beforePublic, func(at int) {
			if at += len(beforePublic); at+32 <= len(m) && !bytes.Contains(m[at:at+32], make([]byte, 4)) { // not zeros, which are everywhere
				publics[string(m[at:at+32])] = nil
			}
		})
	}
	try := func(m []byte, at int) {
		if at < 0 || at+32 > len(m) {
			return
		}
		public := string(ed25519.NewKeyFromSeed(m[at : at+32])[32:])
		if seed, ok := publics[public]; ok && seed == nil {
			publics[public] = bytes.Clone(m[at : at+32])
		}
	}
	for _, m := range memories {
		each(m, beforePrivate, func(at int) { try(m, at+len(beforePrivate)) })
		for public := range publics {
			each(m, []byte(public), func(at int) { try(m, at-32) })
		}
	}
	for _, seed := range publics {
		if seed != nil {
			seeds = append(seeds, seed)
		}
	}
	return seeds
}

// each calls f with every place of a needle.
func each(b, needle []byte, f func(at int)) {
	for from := 0; ; {
		at := bytes.Index(b[from:], needle)
		if at < 0 {
			return
		}
		f(from + at)
		from += at + 1
	}
}

// forms are the ways in which a secret is usually written down.
func forms(secret []byte) [][]byte {
	h := hex.EncodeToString(secret)
	all := [][]byte{secret, []byte(h), []byte(strings.ToUpper(h)), []byte(strings.Trim(fmt.Sprint(secret), "[]"))}
	for shift := range 3 { // base64 of something that holds it: what stands before it moves it
		b := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		b = b[(8*shift+5)/6 : (8*(shift+len(secret)))/6]
		all = append(all, []byte(b), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(b)))
	}
	return all
}

func holdsAny(b []byte, needles [][]byte) bool {
	for _, n := range needles {
		if bytes.Contains(b, n) {
			return true
		}
	}
	return false
}

// search looks at the command line, the environment and the open files of every process of the hosts, and at all files
// where programs put such.
func (l lab) search(needles [][]byte) (found []string) {
	l.t.Helper()
	seen := 0
	look := func(path string) {
		st, err := os.Stat(path)
		if err != nil || !st.Mode().IsRegular() || st.Size() > 256<<20 {
			return
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return
		}
		if seen++; holdsAny(b, needles) {
			found = append(found, path)
		}
	}
	for _, host := range []string{"head", "node1", "node2"} {
		root := l.Root(host)
		for _, p := range l.Processes(host) {
			dir := fmt.Sprintf("%s/proc/%d/", root, p.Pid)
			look(dir + "cmdline")
			look(dir + "environ")
			open, _ := filepath.Glob(dir + "fd/*")
			for _, fd := range open {
				look(fd)
			}
		}
		for _, top := range []string{"tmp", "var/tmp", "var/log", "run", "root", "home", "dev/shm"} {
			filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					look(path)
				}
				return nil
			})
		}
	}
	l.t.Logf("searched %d files", seen)
	return found
}

// leak does what must not be done: "PLACE FORM" shows a key of this process's, "listen NETWORK ADDRESS" opens a door. It
// returns what undoes it.
func leak(fault string, key []byte) (undo func(), err error) {
	what, how, _ := strings.Cut(fault, " ")
	secret := map[string]string{
		"raw": string(key), "hex": hex.EncodeToString(key), "decimal": fmt.Sprint(key),
		"base64": base64.StdEncoding.EncodeToString(append([]byte("x"), key...)),
	}[how]
	switch what {
	case "":
		return func() {}, nil
	case "listen":
		network, addr, _ := strings.Cut(how, " ")
		if network == "udp" {
			c, err := net.ListenPacket(network, addr)
			return func() { c.Close() }, err
		}
		l, err := net.Listen(network, addr)
		return func() { l.Close() }, err
	case "argv", "env":
		cmd := exec.Command("sh", "-c", "read x") // it lives as long as its input
		if what == "argv" {
			cmd.Args = append(cmd.Args, secret)
		} else {
			cmd.Env = append(os.Environ(), "SECRET="+secret)
		}
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		return func() { in.Close(); cmd.Wait() }, cmd.Start()
	case "file":
		return func() { os.Remove("/tmp/leak") }, os.WriteFile("/tmp/leak", []byte(secret), 0o600)
	case "unlinked":
		f, err := os.CreateTemp("", "")
		if err != nil {
			return nil, err
		}
		os.Remove(f.Name())
		w := bufio.NewWriter(f)
		w.WriteString(secret)
		return func() { f.Close() }, w.Flush()
	case "log":
		fmt.Fprintln(os.Stderr, secret)
		return func() {}, nil
	}
	return nil, fmt.Errorf("no fault %q", fault)
}
