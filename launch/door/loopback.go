package door

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// OpenLoopback gives a server that has no keys one that lasts as long as it runs, and a secret that this user's programs
// on this machine find. Several servers share it: each has a lock (flock(2)) on its file, and close of the last one removes
// it.
func (r *Keyring) OpenLoopback() (close func(), err error) {
	if r.server == nil {
		if r.server, err = NewKey(); err != nil {
			return nil, err
		}
	}
	path := r.path(loopbackFile)
	var f *os.File
	for f == nil {
		if err := createOwn(path, []byte(newSecret()+"\n")); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if f, err = share(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // else the last one has just ended
			return nil, err
		}
	}
	text, err := r.read(loopbackFile, private)
	if err == nil {
		r.loopback, err = parseSecrets(text)
	}
	if err == nil && len(r.loopback) == 0 {
		err = errors.New("has no secret: remove it")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.lasting, r.secrets = r.loopback, r.loopback
	return func() {
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.Remove(path)
		}
		f.Close()
	}, nil
}

// share opens a file with a lock that others may have, too.
func share(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err == nil {
		var ours, there fs.FileInfo
		if ours, err = f.Stat(); err == nil {
			there, err = os.Lstat(path)
		}
		if err == nil && !os.SameFile(ours, there) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
