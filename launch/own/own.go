// Package own tells what is this user's alone from what others could have planted. What is executed, believed or secret
// lies in a [Dir]; a [Parent] is where one can be made; [Target] is for files that the user names and we write.
//
// Root, whose the root directory is, is trusted as this user is.
package own

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// others are the permission bits by which somebody else may write.
const others = 0o022

// Dir checks that path is a directory of this user's, no link, in which nobody else may write, and in whose place nobody
// else can put another. It returns its name without links, by which alone it can be used safely.
func Dir(path string) (real string, err error) {
	if real, err = resolve(path); err != nil {
		return "", err
	}
	st, err := os.Lstat(real)
	if err != nil {
		return "", reason(err)
	}
	link, err := os.Lstat(path)
	switch uid := ownerOf(st); {
	case err != nil:
		return "", reason(err)
	case !link.IsDir() || !st.IsDir():
		return "", syscall.ENOTDIR
	case uid != os.Getuid():
		return "", fmt.Errorf("belongs to uid %d", uid)
	case st.Mode()&others != 0:
		return "", fmt.Errorf("others may write there (mode %#o)", st.Mode().Perm())
	}
	return real, above(real)
}

// Parent checks that nobody else can replace what this user makes in a directory: others may write there only if it has
// the sticky bit, as /tmp has. It returns its name without links.
func Parent(path string) (real string, err error) {
	if real, err = resolve(path); err != nil {
		return "", err
	}
	if err := steady(real); err != nil {
		return "", err
	}
	return real, above(real)
}

// Temp makes a directory as os.MkdirTemp does, for this user alone, where TMPDIR says if that is a [Parent].
func Temp(pattern string) (string, error) {
	parent, err := Parent(os.TempDir())
	if err != nil {
		return "", fmt.Errorf("%s: %w: set TMPDIR to another directory", os.TempDir(), err)
	}
	return os.MkdirTemp(parent, pattern)
}

// above checks the directories above a path without links.
func above(path string) error {
	for path != "/" {
		path = filepath.Dir(path)
		if err := steady(path); err != nil {
			return fmt.Errorf("%s above it: %w", path, err)
		}
	}
	return nil
}

// steady checks that nobody else can rename what this user has in a directory.
func steady(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return reason(err)
	}
	switch uid := ownerOf(st); {
	case !st.IsDir():
		return syscall.ENOTDIR
	case !trusted(uid):
		return fmt.Errorf("belongs to uid %d", uid)
	case st.Mode()&others != 0 && st.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("others may write there (mode %#o)", st.Mode().Perm())
	}
	return nil
}

// Target checks what stands where the user wants a file to be put, in place of what is there or not, and returns the name by
// which to put it there. In a directory where anybody may write, or that is another's, that is either nothing or a regular
// file of this user's that has no other name: links, pipes and files of others were put there by others. In other
// directories links are followed.
func Target(path string) (string, error) {
	if !isPublic(filepath.Dir(path)) {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real, nil
		}
		return path, nil
	}
	st, err := os.Lstat(path)
	if err != nil {
		return path, nil // whoever opens it says what is wrong
	}
	return path, planted(st)
}

// Create opens a file for writing, new or emptied, where a [Target] may be. A new one gets the permission bits perm. It waits
// for nobody: a named pipe must have its reader.
func Create(path string, perm fs.FileMode) (*os.File, error) {
	public := isPublic(filepath.Dir(path))
	flags := os.O_TRUNC
	if public {
		flags = syscall.O_NOFOLLOW // and emptied once it is known to be ours
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK|flags, perm)
	if err != nil && public {
		if st, lerr := os.Lstat(path); lerr == nil && !st.Mode().IsRegular() {
			err = &fs.PathError{Op: "open", Path: path, Err: planted(st)}
		}
	}
	if st, serr := os.Stat(path); errors.Is(err, syscall.ENXIO) && serr == nil && st.Mode()&fs.ModeNamedPipe != 0 {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("nobody reads this named pipe: start its reader first")}
	}
	if err != nil || !public {
		return f, err
	}
	st, err := f.Stat()
	if err == nil {
		err = planted(st)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: reason(err)}
	}
	return f, nil
}

// isPublic says whether anybody may write in a directory, or another user, whose it is.
func isPublic(dir string) bool {
	st, err := os.Stat(dir)
	return err == nil && (st.Mode()&0o002 != 0 || !trusted(ownerOf(st)))
}

// trusted says whether a user is this one or root.
func trusted(uid int) bool { return uid == os.Getuid() || uid == rootUID() }

// planted says why a file in a public directory cannot be taken for this user's.
func planted(st fs.FileInfo) error {
	const advice = ", and others may write in its directory: choose another name"
	switch uid := ownerOf(st); {
	case uid != os.Getuid():
		return fmt.Errorf("belongs to uid %d%s", uid, advice)
	case !st.Mode().IsRegular():
		return errors.New("is no regular file" + advice)
	case st.Sys().(*syscall.Stat_t).Nlink > 1:
		return errors.New("has another name elsewhere" + advice)
	}
	return nil
}

func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", reason(err)
	}
	return real, nil
}

// rootUID is root's, by another number where it is not a user of this user namespace.
func rootUID() int {
	st, err := os.Lstat("/")
	if err != nil {
		return 0
	}
	return ownerOf(st)
}

func ownerOf(st fs.FileInfo) int { return int(st.Sys().(*syscall.Stat_t).Uid) }

// reason is the bare reason of an error whose reader knows the path.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
