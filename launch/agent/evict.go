package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The cache keeps programs that were used within cacheAge, the last used ones where they are more than cacheSize bytes
// together, which PPRUN_CACHE_SIZE on the node overrides. Agents that ssh brought (bootstrap.sh) go by their age alone.
const (
	cacheAge  = 30 * 24 * time.Hour
	cacheSize = 2 << 30
)

// staleAge is how old a file is at least that an agent was writing when it was killed.
const staleAge = 24 * time.Hour

// Locks (flock(2)) keep eviction and use apart. Whoever takes a program from the cache, or puts one there, holds the
// directory's lock shared meanwhile, and then the program file's as long as its agent lives. Whoever evicts holds the
// directory's alone, and removes no program whose lock it cannot have alone. Where a file system cannot lock, as NFS
// cannot directories, nothing is evicted.

// using locks the cache for using it.
func (c *cache) using() (unlock func()) {
	dir, err := c.root.Open(".")
	if err != nil {
		return func() {}
	}
	lock(dir, syscall.LOCK_SH)
	return func() { dir.Close() }
}

// alone locks the cache for itself, and returns its directory, which has to be closed; nil if somebody uses the cache.
func (c *cache) alone() *os.File {
	dir, err := c.root.Open(".")
	if err != nil {
		return nil
	}
	if lock(dir, syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		dir.Close()
		return nil
	}
	return dir
}

func lock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// entry is a program in the cache.
type entry struct {
	digest string
	used   time.Time
	size   int64
}

// evict removes programs that were not used for an age, and those that were used least recently while there are more than
// so many bytes. It returns how many it has removed.
func (c *cache) evict(most int64, age time.Duration) (removed int) {
	dir := c.alone()
	if dir == nil {
		return 0 // somebody uses it: the next one will evict
	}
	defer dir.Close()
	entries, all := c.entries(dir)
	slices.SortFunc(entries, func(a, b entry) int { return a.used.Compare(b.used) })
	for _, e := range entries {
		if all <= most && time.Since(e.used) < age {
			break
		}
		if c.remove(e.digest) {
			all -= e.size
			removed++
		}
	}
	return removed
}

// entries lists the programs, and removes what is left of writing and of old agents.
func (c *cache) entries(dir *os.File) (entries []entry, all int64) {
	infos, _ := dir.Readdir(-1)
	for _, st := range infos {
		switch {
		case !st.IsDir():
			c.removeStale("", st)
		case isDigest(st.Name()):
			e := entry{st.Name(), st.ModTime(), c.size(st.Name())}
			entries = append(entries, e)
			all += e.size
		}
	}
	return entries, all
}

// size is that of the program, which may have several names.
func (c *cache) size(digest string) (most int64) {
	dir, err := c.root.Open(digest)
	if err != nil {
		return 0
	}
	defer dir.Close()
	infos, _ := dir.Readdir(-1)
	for _, st := range infos {
		most = max(most, st.Size())
		c.removeStale(digest, st)
	}
	return most
}

func (c *cache) removeStale(dir string, st fs.FileInfo) {
	age := time.Since(st.ModTime())
	digest, isAgent := strings.CutPrefix(st.Name(), "agent-")
	if age > staleAge && (strings.HasPrefix(st.Name(), temporary) || strings.HasPrefix(st.Name(), ".agent-")) ||
		age > cacheAge && isAgent && isDigest(digest) && dir == "" {
		c.root.Remove(filepath.Join(dir, st.Name()))
	}
}

func isDigest(name string) bool {
	b, err := hex.DecodeString(name)
	return err == nil && len(b) == sha256.Size
}

// remove removes a program unless it is in use or about to come.
func (c *cache) remove(digest string) bool {
	dir, err := c.root.Open(digest)
	if err != nil {
		return false
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if strings.HasPrefix(name, temporary) {
			return false
		}
		f, err := c.root.OpenFile(filepath.Join(digest, name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			return false
		}
		defer f.Close()
		// Names of one file share its lock: the second is not in the way of the first.
		if err := lock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil && !c.twin(f, digest, names[:slices.Index(names, name)]) {
			return false
		}
	}
	for _, name := range names {
		c.root.Remove(filepath.Join(digest, name))
	}
	return c.root.Remove(digest) == nil
}

// twin says whether one of the names is of the same file.
func (c *cache) twin(f *os.File, digest string, names []string) bool {
	st, err := f.Stat()
	if err != nil {
		return false
	}
	for _, name := range names {
		if other, err := c.root.Lstat(filepath.Join(digest, name)); err == nil && os.SameFile(st, other) {
			return true
		}
	}
	return false
}

// tidy evicts from the cache that a program has just come to.
func (a *agent) tidy(path string) {
	c, err := openCache(path)
	if err != nil {
		return
	}
	defer c.close()
	most := int64(cacheSize)
	if text := os.Getenv("PPRUN_CACHE_SIZE"); text != "" {
		if most, err = ParseSize(text); err != nil {
			a.note("PPRUN_CACHE_SIZE on %s: %v", a.host, err)
			return
		}
	}
	c.evict(most, cacheAge)
}

// touchSelf notes that the executable of this agent is in use, if it lies in a cache.
func touchSelf() {
	path, err := os.Readlink(selfPath)
	if err != nil || !strings.HasPrefix(filepath.Base(path), "agent-") {
		return
	}
	if st, err := os.Lstat(path); err == nil && time.Since(st.ModTime()) > staleAge {
		now := time.Now()
		os.Chtimes(path, now, now)
	}
}
