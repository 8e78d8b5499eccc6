package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pprun/pprun/launch/own"
	"golang.org/x/sys/unix"
)

// cache is a directory of programs: DIR/SHA256/NAME, mode 0500 in directories of mode 0700. Entries come by rename and
// are replaced so, never changed: whoever has one open goes on with it. Eviction (evict.go) goes by the times of the
// SHA256 directories, which every use sets, and spares what agents use.
type cache struct {
	path string // without links
	root *os.Root
}

// cacheDirs are the places for a cache, best first.
func cacheDirs() []string { return cacheDirsOf(os.Getenv, os.Getuid()) }

// cacheDirsOf are those of a user in whose environment env looks names up.
func cacheDirsOf(env func(string) string, uid int) []string {
	own := fmt.Sprintf("pprun-%d", uid)
	var dirs []string
	for _, d := range []struct{ base, sub string }{
		{env("PPRUN_CACHE"), ""},
		{env("XDG_CACHE_HOME"), "pprun"},
		{env("HOME"), ".cache/pprun"},
		{env("XDG_RUNTIME_DIR"), "pprun"},
		{"/var/tmp", own}, {"/tmp", own}, {"/dev/shm", own},
	} {
		if filepath.IsAbs(d.base) {
			dirs = append(dirs, filepath.Join(d.base, d.sub))
		}
	}
	return dirs
}

// makeCache opens the cache at path, and makes it if it is not there.
func makeCache(path string) (*cache, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, errors.New(reason(err))
	}
	return openCache(path)
}

// openCache opens the cache at path.
func openCache(path string) (*cache, error) {
	path, err := own.Dir(path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, errors.New(reason(err))
	}
	return &cache{path, root}, nil
}

func (c *cache) close() { c.root.Close() }

// find opens the program with that digest, whose bytes it verifies on the open file. An entry under another name gets a
// second one.
func (c *cache) find(digest, name string, size int64) (*os.File, error) {
	f, err := c.take(digest, name)
	if err != nil {
		return nil, err
	}
	if err := sound(f, digest, size); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// take opens it, so that it stays as long as it is open.
func (c *cache) take(digest, name string) (*os.File, error) {
	defer c.using()()
	f, err := c.open(digest, name)
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	dir, err := c.root.Open(digest)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, n := range names {
		if !strings.HasPrefix(n, temporary) && c.root.Link(filepath.Join(digest, n), filepath.Join(digest, name)) == nil {
			return c.open(digest, name)
		}
	}
	return nil, os.ErrNotExist
}

var errCorrupt = errors.New("its bytes are not those of its digest")

// ours checks the directory of a digest: one that another has put there, when the cache was open to all, stays his.
func (c *cache) ours(digest string) error {
	if _, err := c.root.Lstat(digest); err != nil {
		return err
	}
	if _, err := own.Dir(filepath.Join(c.path, digest)); err != nil {
		return fmt.Errorf("%s %w: remove it", digest, err)
	}
	return nil
}

func (c *cache) open(digest, name string) (*os.File, error) {
	if err := c.ours(digest); err != nil {
		return nil, err
	}
	f, err := c.root.OpenFile(filepath.Join(digest, name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	lock(f, syscall.LOCK_SH|syscall.LOCK_NB)
	now := time.Now()
	c.root.Chtimes(digest, now, now)
	return f, nil
}

// sound checks an open cache entry.
func sound(f *os.File, digest string, size int64) error {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG || int(st.Uid) != os.Getuid() || st.Mode&0o777 != 0o500 || st.Size != size {
		return errCorrupt
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != digest {
		return errCorrupt
	}
	return nil
}

// temporary begins the names of files that are being written. No program's name does.
const temporary = ".new-"

// create opens a file for a new entry, to be given to commit or discard.
func (c *cache) create(digest string) (f *os.File, name string, err error) {
	defer c.using()()
	if err := c.root.Mkdir(digest, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, "", err
	}
	if err := c.ours(digest); err != nil {
		return nil, "", err
	}
	name = filepath.Join(digest, temporary+rand.Text())
	f, err = c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	return f, name, err
}

// commit makes the written file the entry and opens it for reading. One that another agent has brought meanwhile stays: it
// may be in use.
func (c *cache) commit(f *os.File, temp string, s *Stage) (*os.File, error) {
	if err := f.Chmod(0o500); err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	there, err := c.find(s.Digest, s.Name, s.Size)
	if errors.Is(err, os.ErrNotExist) {
		if there, err = c.enter(temp, s, c.root.Link); err != nil { // another agent was faster, or links cannot be had
			there, err = c.find(s.Digest, s.Name, s.Size)
		}
	}
	if err != nil { // what is there, if anything is, is corrupt
		return c.enter(temp, s, c.root.Rename)
	}
	c.root.Remove(temp)
	return there, nil
}

// enter gives a file its name in the cache and opens it.
func (c *cache) enter(temp string, s *Stage, as func(old, name string) error) (*os.File, error) {
	defer c.using()()
	if err := as(temp, filepath.Join(s.Digest, s.Name)); err != nil {
		return nil, err
	}
	return c.open(s.Digest, s.Name)
}

// discard removes a file that did not become an entry.
func (c *cache) discard(f *os.File, temp string) {
	f.Close()
	c.root.Remove(temp)
	if filepath.Dir(temp) == "." {
		return
	}
	if dir := c.alone(); dir != nil { // else another agent may be about to use it
		c.root.Remove(filepath.Dir(temp)) // if it is empty
		dir.Close()
	}
}

// room checks that a file of size bytes can be written there: free space says nothing of quotas and limits.
func (c *cache) room(size int64) error {
	if free, ok := freeBytes(c.path); ok && free < size {
		return fmt.Errorf("%s free, %s needed", megabytes(free), megabytes(size))
	}
	name := temporary + rand.Text()
	f, err := c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return errors.New(reason(err))
	}
	defer c.discard(f, name)
	if err := allocate(f, size); err != nil {
		return fmt.Errorf("%w, %s needed", err, megabytes(size))
	}
	return nil
}

// probeScript is a program that does nothing.
const probeScript = "#!/bin/sh\nexit 0\n"

// probe executes something there: mount options, policies and wrappers show only so.
func (c *cache) probe(run func(path string) error) error {
	name := temporary + rand.Text()
	if err := c.root.WriteFile(name, []byte(probeScript), 0o700); err != nil {
		c.root.Remove(name)
		return errors.New(reason(err))
	}
	defer c.root.Remove(name)
	if err := run(filepath.Join(c.path, name)); err != nil {
		return fmt.Errorf("programs cannot be executed there (mounted noexec?): %w", err)
	}
	return nil
}

// freeBytes is the space that this user may still fill.
func freeBytes(path string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// Usage is what a user's cache holds: that of an agent in whose environment env looks names up.
type Usage struct {
	Path     string `json:"path"` // empty: there is none yet
	Programs int    `json:"programs"`
	Bytes    int64  `json:"bytes"`
}

// CacheUsage looks at it.
func CacheUsage(env func(string) string, uid int) (u Usage) {
	for _, dir := range cacheDirsOf(env, uid) {
		digests, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		u.Path = dir
		for _, d := range digests {
			if !isDigest(d.Name()) || !d.IsDir() {
				continue
			}
			names, _ := os.ReadDir(filepath.Join(dir, d.Name()))
			if len(names) > 0 { // further names are links
				if st, err := names[len(names)-1].Info(); err == nil {
					u.Programs++
					u.Bytes += st.Size()
				}
			}
		}
		return u
	}
	return u
}
