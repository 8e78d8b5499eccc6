package agent

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/pprun/pprun/comm/frame"
	"golang.org/x/sys/unix"
)

// staging is one file on its way to this node.
type staging struct {
	Stage
	id     uint64
	chunks *io.PipeWriter // where frames go; owned by the reader of frames

	done chan struct{} // closed when it is here or has failed
	path string        // read after done, as err
	err  error

	mu   sync.Mutex // guards file from done on: ranks may be started again at once
	file *os.File   // the program, verified; open as long as the agent lives
}

// stage begins to take a file. Looking it up and taking it happen beside the reading of frames.
func (a *agent) stage(id uint64, payload []byte) error {
	st, err := Decode[Stage](payload)
	if err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	if err := st.check(); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	if id == 0 || a.stages[id] != nil {
		return fmt.Errorf("stage: id %d is 0 or not new", id)
	}
	if a.ranks != nil { // from then on others read a.stages
		return errors.New("stage: the ranks have been started")
	}
	r, w := io.Pipe()
	s := &staging{Stage: st, id: id, chunks: w, done: make(chan struct{})}
	a.stages[id] = s
	a.work.Go(func() {
		stop := context.AfterFunc(a.life, func() { r.CloseWithError(errors.New("the launcher is gone")) })
		defer stop()
		defer close(s.done)
		var cached bool
		cached, s.err = a.fetch(s, r)
		r.CloseWithError(errors.New("no more wanted"))
		if s.err != nil {
			a.fail(failure("stage", s.err))
			return
		}
		a.send(frame.Header{Kind: KindStaged, ID: id}, Staged{Cached: cached, Path: s.path})
	})
	return nil
}

// check holds a file against what becomes part of paths.
func (s *Stage) check() error {
	digest, err := hex.DecodeString(s.Digest)
	if err != nil || len(digest) != 32 || s.Digest != strings.ToLower(s.Digest) || s.Size < 0 || !baseName(s.Name) {
		return fmt.Errorf("file %q, digest %q, %d bytes", s.Name, s.Digest, s.Size)
	}
	return nil
}

// baseName says whether a file may have that name in a directory of the agent's own.
func baseName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 200 && !strings.ContainsAny(name, "/\x00\n") && !strings.HasPrefix(name, temporary)
}

// chunk passes bytes on. It waits for the decoder, and so does the launcher.
func (a *agent) chunk(h frame.Header, payload []byte) error {
	s := a.stages[h.ID]
	if s == nil {
		return fmt.Errorf("chunk: id %d has not been announced", h.ID)
	}
	s.chunks.Write(payload) // fails when the file has failed, which has been told
	if h.Flags&frame.More == 0 {
		s.chunks.Close()
	}
	return nil
}

// libraries is the LD_LIBRARY_PATH that the program will have.
func (s *staging) libraries() string { return cmp.Or(s.Libraries, os.Getenv("LD_LIBRARY_PATH")) }

// staged waits for a staged program and returns a path at which exactly the verified file lies.
func (a *agent) staged(id uint64) (string, error) {
	s := a.stages[id]
	if s == nil || !s.Program {
		return "", fmt.Errorf("start: stage %d is no program", id)
	}
	<-s.done
	if s.err != nil {
		return "", s.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ours, err := s.file.Stat()
	if err != nil {
		return "", err
	}
	there, err := os.Lstat(s.path)
	switch {
	case err == nil && os.SameFile(ours, there):
		return s.path, nil
	case errors.Is(err, os.ErrNotExist): // somebody has emptied the cache
		return descriptorPath(s.file), nil
	}
	// Another job has replaced the entry, with the same bytes if all is well.
	c, err := openCache(filepath.Dir(filepath.Dir(s.path)))
	if err != nil {
		return "", err
	}
	defer c.close()
	f, err := c.find(s.Digest, s.Name, s.Size)
	if err != nil {
		return "", &Failure{Phase: "start", Rank: -1, Code: 125, Text: fmt.Sprintf("%s on %s: %v", s.path, a.host, err), Fix: "run it again"}
	}
	s.file = f // the old one stays open: a rank may be about to be started from its descriptor
	return s.path, nil
}

// fetch gets a file to the node, or finds that it is there.
func (a *agent) fetch(s *staging, chunks io.Reader) (cached bool, err error) {
	if !s.Program {
		if err := a.checkUpload(&s.Stage); err != nil {
			return false, err
		}
		a.send(frame.Header{Kind: KindWant, ID: s.id}, nil)
		return false, a.fetchFile(s, chunks)
	}
	for _, dir := range cacheDirs() {
		c, err := openCache(dir)
		if err != nil {
			continue
		}
		s.file, err = c.find(s.Digest, s.Name, s.Size)
		c.close()
		if err == nil && unix.Access(filepath.Join(dir, s.Digest, s.Name), unix.X_OK) != nil {
			s.file.Close() // kept where another node of a shared home may execute it, or could once
			continue
		}
		if err == nil {
			s.path = filepath.Join(c.path, s.Digest, s.Name)
			a.send(frame.Header{Kind: KindHave, ID: s.id}, nil)
			return true, a.inspect(s.file, s.Name, s.libraries())
		}
	}
	if err := a.checkUpload(&s.Stage); err != nil {
		return false, err
	}
	c, err := a.roomyCache(s.Size)
	if err != nil {
		return false, err
	}
	defer c.close()
	a.send(frame.Header{Kind: KindWant, ID: s.id}, nil)
	if err := a.fetchProgram(s, c, chunks); err != nil {
		return false, err
	}
	a.work.Go(func() { a.tidy(c.path) })
	return false, a.inspect(s.file, s.Name, s.libraries())
}

// roomyCache is the first cache where a program of that size can be kept and executed.
func (a *agent) roomyCache(size int64) (*cache, error) {
	var why []string
	for _, dir := range cacheDirs() {
		c, err := makeCache(dir)
		if err == nil {
			if err = c.room(size); err == nil {
				err = c.probe(a.execute)
			}
			if err == nil {
				return c, nil
			}
			c.close()
		}
		if a.life.Err() != nil { // what was to try the place was ended, too
			return nil, errNoJob
		}
		why = append(why, dir+": "+err.Error())
	}
	return nil, &Failure{Phase: "stage", Rank: -1, Code: 125,
		Text: fmt.Sprintf("no place on %s to keep the program: %s", a.host, strings.Join(why, "; ")),
		Fix:  "set PPRUN_CACHE there to a directory of your own with room, where programs may be executed"}
}

// fetchProgram writes the program into the cache.
func (a *agent) fetchProgram(s *staging, c *cache, chunks io.Reader) error {
	f, temp, err := c.create(s.Digest)
	if err == nil {
		a.guard.remove(filepath.Join(c.path, temp))
		if err = unpack(f, chunks, &s.Stage); err == nil {
			s.file, err = c.commit(f, temp, &s.Stage)
		}
		if err != nil {
			c.discard(f, temp)
		}
	}
	s.path = filepath.Join(c.path, s.Digest, s.Name)
	return a.explainWrite(s, err)
}

// fetchFile writes any other file into the job's private directory.
func (a *agent) fetchFile(s *staging, chunks io.Reader) error {
	dir, err := a.dirs.private(a.hello.Job)
	if err != nil {
		return err
	}
	s.path = filepath.Join(dir, s.Name)
	temp := filepath.Join(dir, temporary+s.Name)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return a.explainWrite(s, err)
	}
	defer f.Close()
	if err = unpack(f, chunks, &s.Stage); err == nil {
		if err = f.Chmod(os.FileMode(s.Mode) & 0o777); err == nil {
			err = os.Rename(temp, s.path)
		}
	}
	if err != nil {
		os.Remove(temp)
	} else {
		a.dirs.keep(s.Name)
	}
	return a.explainWrite(s, err)
}

// explainWrite makes a failure of why s was not written.
func (a *agent) explainWrite(s *staging, err error) error {
	if err == nil {
		return nil
	}
	f := &Failure{Phase: "stage", Rank: -1, Code: 125, Text: fmt.Sprintf("%s on %s: %v", s.path, a.host, err)}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		free, _ := freeBytes(filepath.Dir(filepath.Dir(s.path)))
		f.Text = fmt.Sprintf("%s on %s: %s: %s needed, %s free", s.path, a.host, reason(err), megabytes(s.Size), megabytes(free))
		f.Fix = "make room there, or set TMPDIR there to another directory"
		if s.Program {
			f.Fix = "make room there, or set PPRUN_CACHE there to another directory"
		}
	}
	return f
}
