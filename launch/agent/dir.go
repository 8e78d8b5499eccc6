package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/pprun/pprun/launch/own"
)

// maxSocketDir leaves room in a socket's path for the sockets' own names.
const maxSocketDir = 90

// dirs are the directories that live as long as the job: one for its sockets, one for the user's files.
type dirs struct {
	guard *guard

	mu         sync.Mutex
	socketDir  string
	privateDir string
	staged     []string   // in privateDir: names of what the launcher has sent
	locks      []*os.File // on them
}

// private returns the directory of staged files, where ranks also run when they cannot run in the caller's.
func (d *dirs) private(job string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ensure(&d.privateDir, job, privateParents(), 1<<10)
}

// sockets returns the directory of the job's sockets.
func (d *dirs) sockets(job string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ensure(&d.socketDir, job, socketParents(), maxSocketDir)
}

func privateParents() []string { return []string{os.Getenv("TMPDIR"), "/tmp", "/var/tmp"} }

func socketParents() []string {
	return []string{os.Getenv("XDG_RUNTIME_DIR"), os.Getenv("TMPDIR"), "/tmp", "/var/tmp", "/dev/shm"}
}

// ensure makes the directory *p, 0700, below the first parent that lets it.
func (d *dirs) ensure(p *string, job string, parents []string, longest int) (string, error) {
	if *p != "" {
		return *p, nil
	}
	var why []string
	for _, parent := range parents {
		if parent == "" {
			continue
		}
		path, err := d.create(parent, job, longest)
		if err == nil {
			*p = path
			d.guard.remove(path)
			return path, nil
		}
		why = append(why, parent+": "+reason(err))
	}
	return "", &Failure{Phase: "start", Rank: -1, Code: 125,
		Text: "no directory for the job's own files: " + strings.Join(why, "; "), Fix: "set TMPDIR there to a directory where you may write"}
}

// create makes a directory of the job below parent, and locks it where locks can be had.
func (d *dirs) create(parent, job string, longest int) (path string, err error) {
	if parent, err = own.Parent(parent); err != nil {
		return "", err
	}
	path, err = os.MkdirTemp(parent, dirPrefix+job+"-")
	if err != nil {
		return "", err
	}
	if len(path) > longest {
		err = fmt.Errorf("the path of a socket there would be too long")
	} else {
		_, err = own.Dir(path)
	}
	if err != nil {
		os.Remove(path)
		return "", err
	}
	if lock, err := lockDir(path); err == nil {
		d.locks = append(d.locks, lock)
	}
	return path, nil
}

// keep says that a file in the private directory is the launcher's, not the ranks'.
func (d *dirs) keep(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.staged = append(d.staged, name)
}

// remove deletes the directories with all they hold, and tells what the ranks will miss.
func (d *dirs) remove() (done Done) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.privateDir != "" {
		entries, _ := os.ReadDir(d.privateDir)
		for _, e := range entries {
			if e.Name()[0] != '.' && !slices.Contains(d.staged, e.Name()) { // a dot: package comm's, or a lock
				done.Removed++
				done.Such = cmp.Or(done.Such, strings.ToValidUTF8(e.Name(), "?"))
			}
		}
	}
	for _, p := range []string{d.socketDir, d.privateDir} {
		if p != "" {
			os.RemoveAll(p)
		}
	}
	for _, lock := range d.locks {
		lock.Close()
	}
	d.locks = nil
	return done
}

// reason is the bare reason of an error whose message names the path already.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
