package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/launch/own"
)

// dirPrefix begins the names of jobs' directories; the job's id follows.
const dirPrefix = "pprun-"

// leftoverAge is how old a directory is at least that counts as left behind: a younger one may not be locked yet.
const leftoverAge = time.Minute

// lockDir opens a job's own directory and locks it (flock(2)): the kernel frees it when the agent ends, however that is.
func lockDir(path string) (*os.File, error) {
	path, err := own.Dir(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// LeftBehind ends the processes, and removes the directories, of a node of a job whose agent on this machine was killed,
// perhaps before it had a guard. It is for the agent's launcher.
func LeftBehind(job string, node int) {
	e := estate{job: job, node: strconv.Itoa(node), group: groupPath(job, node)}
	e.clear()
	for _, parent := range slices.Concat(socketParents(), privateParents()) {
		if parent != "" {
			removeLeftovers(parent, job)
		}
	}
}

// removeLeftovers removes from parent the directories of this user's jobs whose agents are gone, as they are when an
// agent was killed before its guard had started. Only those of the job given may be young.
func removeLeftovers(parent, gone string) {
	root, err := os.OpenRoot(parent)
	if err != nil {
		return
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		job, _, ok := strings.Cut(strings.TrimPrefix(name, dirPrefix), "-")
		if !ok || !strings.HasPrefix(name, dirPrefix) || !validJob(job) {
			continue
		}
		if st, err := root.Lstat(name); err != nil || job != gone && time.Since(st.ModTime()) < leftoverAge {
			continue // looked at first: a lock here, for a moment, would be one that the agent does not get
		}
		f, err := lockDir(filepath.Join(parent, name))
		if err != nil {
			continue
		}
		root.RemoveAll(name)
		f.Close()
	}
}
