package agent

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// runnable checks a path on the node.
func (a *agent) runnable(path, dir string) error {
	full := path
	if !filepath.IsAbs(path) {
		full = filepath.Join(dir, path)
	}
	st, err := os.Stat(full)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return a.unfit(127, full, "no such file", "copy it there, or let pprun stage it")
	case err != nil:
		return a.unfit(126, full, reason(err), "")
	case st.IsDir():
		return a.unfit(126, full, "is a directory", "name a program in it")
	case unix.Access(full, unix.X_OK) != nil:
		return a.unfit(126, full, "not executable", "chmod +x "+full)
	}
	return nil
}

// lookPath finds a bare name on the PATH that the ranks get.
func (a *agent) lookPath(name, path string) (string, error) {
	var notExecutable string
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join(dir, name)
		if st, err := os.Stat(full); err != nil || st.IsDir() || !filepath.IsAbs(full) {
			continue
		}
		if unix.Access(full, unix.X_OK) == nil {
			return full, nil
		}
		notExecutable = full
	}
	if notExecutable != "" {
		return "", a.unfit(126, notExecutable, "not executable", "chmod +x "+notExecutable)
	}
	return "", a.unfit(127, name, "not found on PATH", "install it there, or write ./"+name+" for a program of your own, which pprun copies")
}
