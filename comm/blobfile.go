package comm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pprun/pprun/comm/place"
)

// The ranks of a node fetch a shared blob once: the first one leaves it in a file for the others, in a directory that
// only they see and their agent removes. While it does so it holds a lock (flock(2)), which the kernel frees however it
// ends. Where no file can be written, each fetches for itself.

// sharedDir is the directory of a rank with neighbours.
func sharedDir(p *place.Place) string {
	if p.Dir == "" || neighbours(p) < 2 {
		return ""
	}
	return filepath.Join(p.Dir, ".shared")
}

// shared returns the bytes of a blob that many need. They must not be changed.
func (s *blobs) shared(ctx context.Context, ref blobRef) ([]byte, error) {
	if s.dir == "" || ref.owner == s.comm.rank {
		return s.fetch(ctx, ref)
	}
	path := s.file(ref.digest)
	if b, err := readBlob(path, ref); err == nil {
		return b, nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return s.fetch(ctx, ref)
	}
	lock, err := lockFile(ctx, path+".lock")
	if err != nil { // that ctx has ended the fetch says, too
		return s.fetch(ctx, ref)
	}
	defer lock.Close()
	if b, err := readBlob(path, ref); err == nil {
		return b, nil
	}
	b, err := s.fetch(ctx, ref)
	if err == nil {
		_ = writeBlob(path, b) // the others can do without
	}
	return b, err
}

// file returns where a blob is left for the other ranks of the node.
func (s *blobs) file(d digest) string { return filepath.Join(s.dir, fmt.Sprintf("%x", d[:])) }

// forget drops what this rank, and its node, has of a blob that was released.
func (s *blobs) forget(d digest) {
	s.removeFile(d)
	s.drop(func(key any) bool {
		switch key := key.(type) {
		case argumentKey:
			return key.digest == d
		case refKey:
			return key.digest == d
		}
		return false
	})
}

// drop drops values that were made of blobs, and what the node has of those that were arguments.
func (s *blobs) drop(match func(key any) bool) {
	s.comm.memo.drop(func(key any) bool {
		if !match(key) {
			return false
		}
		if k, ok := key.(argumentKey); ok {
			s.removeFile(k.digest)
		}
		return true
	})
}

// removeFile removes the file of a blob, in a goroutine: a large one takes its time.
func (s *blobs) removeFile(d digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == "" || s.err != nil { // the agent removes the rest
		return
	}
	s.work.Go(func() {
		os.Remove(s.file(d))
		os.Remove(s.file(d) + ".lock")
	})
}

func readBlob(path string, ref blobRef) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() != int64(ref.size) {
		return nil, errDigest
	}
	b := make([]byte, ref.size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, err
	}
	if sha256.Sum256(b) != ref.digest {
		return nil, errDigest
	}
	return b, nil
}

// writeBlob writes a file that is there whole or not at all. The caller has its lock.
func writeBlob(path string, b []byte) error {
	part := path + ".part"
	err := os.WriteFile(part, b, 0o600)
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		os.Remove(part)
	}
	return err
}

// maxLockPause is the longest pause between two looks at a lock that another rank holds.
const maxLockPause = 20 * time.Millisecond

// lockFile waits for a lock. It looks again and again, since flock(2) itself would not hear of the end of ctx.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for pause := time.Millisecond; ; pause = min(2*pause, maxLockPause) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		}
	}
}
