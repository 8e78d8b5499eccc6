package launch

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// target is the program of a job, found on this machine.
type target struct {
	name   string // argv[0], as the user spelt it
	path   string // what nodes run that have it already: absolute, or a bare name for their PATH
	file   string // what is staged to the other nodes; empty: nothing is, path is there
	header header // of file
	remove func() // what was built; may be nil
}

// isSource says whether c.Target is Go source, which has to be built: a .go file or a package directory. A program on
// PATH goes before a directory of the same name.
func isSource(name string) bool {
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return false
	case !st.IsDir():
		return strings.HasSuffix(name, ".go")
	case !hasGoFiles(name):
		return false
	case isBare(name):
		_, err := exec.LookPath(name)
		return err != nil
	}
	return true
}

// isBare says whether a target is a name for the nodes' PATH.
func isBare(name string) bool {
	return !strings.ContainsRune(name, filepath.Separator) && name != "." && name != ".."
}

// findTarget finds what c.Target means, without building anything.
func findTarget(c *Config) (target, error) {
	name := c.Target
	if isBare(name) {
		return target{name: name, path: name}, nil
	}
	st, err := os.Stat(name)
	path, absErr := filepath.Abs(name)
	if absErr != nil {
		return target{}, absErr
	}
	if c.NoStage {
		return target{name: name, path: path}, nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return target{}, failf(StatusNotFound, "%s: no such file or directory", name)
	case err != nil:
		return target{}, failf(StatusNotExecutable, "%s: %v", name, reason(err))
	case st.IsDir():
		return target{}, failf(StatusNotExecutable, "%s: is a directory without Go files: name a program or a Go package", name)
	case !st.Mode().IsRegular():
		return target{}, failf(StatusNotExecutable, "%s: is not a regular file", name)
	case st.Mode()&0o111 == 0:
		return target{}, failf(StatusNotExecutable, "%s: permission denied: chmod +x %s", name, name)
	}
	h, err := fileHeader(path)
	if err != nil {
		return target{}, failf(StatusNotExecutable, "%s: %v", name, reason(err))
	}
	return target{name: name, path: path, file: path, header: h}, nil
}

// hasGoFiles says whether a directory looks like a Go package.
func hasGoFiles(dir string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	return len(files) > 0
}

// reason is what an error says beside the path, which the message has already.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
