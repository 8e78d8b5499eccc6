package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// directories are where a job might leave files.
var directories = []string{"tmp", "var/tmp", "dev/shm", "run", "root", "home"}

// cached are the names of what may stay.
var cached = regexp.MustCompile(`^root/\.cache(/pprun(/agent-[0-9a-f]{64}|/[0-9a-f]{64}(/[a-z]+)?)?)?$`)

// files lists the files of a host that do not belong to the cache.
func files(lab *labtest.Lab, host string) (names []string) {
	root := lab.Root(host)
	for _, dir := range directories {
		filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			name := strings.TrimPrefix(path, root+"/")
			if err == nil && !cached.MatchString(name) { // else it has just gone
				names = append(names, name)
			}
			return nil
		})
	}
	return names
}

// emptyCaches removes what programs and agents the nodes keep.
func emptyCaches(lab *labtest.Lab) {
	for _, host := range hosts() {
		os.RemoveAll(filepath.Join(lab.Root(host), "root/.cache/pprun"))
	}
}

// closed is the state of TCP sockets that nobody holds any more (TIME_WAIT).
const closed = "06"

// sockets lists the TCP sockets of a host that a process holds, but those of ssh, and the Unix sockets of jobs.
func sockets(lab *labtest.Lab, host string) (found []string) {
	net := filepath.Join(filepath.Dir(lab.Root(host)), "net")
	for _, table := range []string{"tcp", "tcp6"} {
		text, _ := os.ReadFile(filepath.Join(net, table))
		for line := range bytes.Lines(text) {
			f := strings.Fields(string(line))
			if len(f) < 10 || f[0] == "sl" || f[3] == closed || f[9] == "0" || port(f[1]) == "0016" || port(f[2]) == "0016" {
				continue
			}
			found = append(found, fmt.Sprintf("%s: %s socket %s %s, state %s", host, table, f[1], f[2], f[3]))
		}
	}
	text, _ := os.ReadFile(filepath.Join(net, "unix"))
	for line := range bytes.Lines(text) {
		if f := strings.Fields(string(line)); len(f) > 7 && strings.Contains(f[7], "/pprun-") {
			found = append(found, host+": unix socket "+f[7])
		}
	}
	return found
}

func port(address string) string {
	_, p, _ := strings.Cut(address, ":")
	return p
}

// before is what hosts have when a round begins.
type before struct {
	processes map[string]bool
	files     map[string][]string // by host
}

func remember(lab *labtest.Lab) before {
	b := before{map[string]bool{}, map[string][]string{}}
	for _, p := range look(lab, nil) {
		b.processes[p.key()] = true
	}
	for _, host := range hosts() {
		b.files[host] = files(lab, host)
	}
	return b
}

// removeFiles removes what a job has left.
func (b before) removeFiles(lab *labtest.Lab) {
	for _, host := range hosts() {
		for _, name := range files(lab, host) {
			if b.files[host] != nil && !slices.Contains(b.files[host], name) {
				os.RemoveAll(filepath.Join(lab.Root(host), name))
			}
		}
	}
}

// left is what there is of a job that has ended. spare are processes that may stay.
func (b before) left(lab *labtest.Lab, spare func(*process) bool) (found []string) {
	for _, p := range look(lab, b.processes) {
		reaped := p.State == 'Z' && p.PPid == 1 // it will be: the shell that is a host's first process takes its time
		if !reaped && !spare(p) {
			found = append(found, p.String())
		}
	}
	for _, host := range hosts() {
		found = append(found, sockets(lab, host)...)
		for _, name := range files(lab, host) {
			if !slices.Contains(b.files[host], name) {
				found = append(found, host+": file /"+name)
			}
		}
	}
	return found
}
