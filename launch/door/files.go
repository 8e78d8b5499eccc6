package door

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pprun/pprun/launch/own"
)

// maxFile bounds a file of keys.
const maxFile = 1 << 20

// The permission bits that nobody else may have on a file.
const (
	private fs.FileMode = 0o077 // secrets
	public  fs.FileMode = 0o022 // what others may read
)

// ReadOwn reads a file that may name keys, and who may use them: nobody but root must have been able to write it.
func ReadOwn(path string) ([]byte, error) { return readOwn(path, public) }

// readOwn reads a file that only this user, or root, could have written: a regular file of ours, or one of root's that
// is no secret, in a directory of ours or root's, which nobody else may change. The error of one that is not there is
// fs.ErrNotExist.
func readOwn(path string, forbidden fs.FileMode) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s: is a symbolic link: put the file itself there", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	uid := ownerOf(st)
	switch {
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is no regular file", path)
	case !trusted(uid, os.Getuid(), forbidden):
		return nil, fmt.Errorf("%s: belongs to uid %d, not to %d, who runs this: chown it", path, uid, os.Getuid())
	case st.Mode()&forbidden&0o022 != 0:
		return nil, fmt.Errorf("%s: others may change it (mode %#o): chmod 600 %s", path, st.Mode().Perm(), path)
	case st.Mode()&forbidden != 0:
		return nil, fmt.Errorf("%s: others may read it (mode %#o): chmod 600 %s", path, st.Mode().Perm(), path)
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s: is longer than %d bytes", path, maxFile)
	}
	return b, err
}

// trusted says whether a file of uid is as good as one of me. A secret is ours alone.
func trusted(uid, me int, forbidden fs.FileMode) bool {
	return uid == me || uid == 0 && forbidden == public
}

// checkDir refuses a directory in which others could replace files.
func checkDir(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	switch uid := ownerOf(st); {
	case uid != os.Getuid() && uid != 0:
		return fmt.Errorf("%s: belongs to uid %d, not to %d, who runs this: chown it", dir, uid, os.Getuid())
	case st.Mode()&0o022 != 0:
		return fmt.Errorf("%s: others may write there (mode %#o): chmod 700 %s", dir, st.Mode().Perm(), dir)
	}
	if _, err := own.Parent(dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

func ownerOf(st fs.FileInfo) int { return int(st.Sys().(*syscall.Stat_t).Uid) }

// createOwn writes a file of ours that is not there yet.
func createOwn(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return err
	}
	return write(path, os.O_CREATE|os.O_EXCL, content)
}

// appendOwn adds a line to a file of ours.
func appendOwn(path, line string) error {
	_, err := readOwn(path, public)
	if errors.Is(err, fs.ErrNotExist) {
		err = createOwn(path, []byte(line+"\n"))
		if !errors.Is(err, fs.ErrExist) { // else another process was faster
			return err
		}
	} else if err != nil {
		return err
	}
	return write(path, os.O_APPEND, []byte(line+"\n"))
}

func write(path string, flag int, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW|flag, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
