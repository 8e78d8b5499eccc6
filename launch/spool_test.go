package launch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pprun/pprun/launch/agent"
)

func spoolOf(t *testing.T, content []byte, readers ...int) *spool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, content, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := newSpool(file, readers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	sum := sha256.Sum256(content)
	if s.digest != hex.EncodeToString(sum[:]) || s.size != int64(len(content)) {
		t.Fatalf("digest %s, size %d", s.digest, s.size)
	}
	return s
}

// drain reads the whole stream and unpacks it.
func drain(t *testing.T, s *spool, reader int) []byte {
	var packed bytes.Buffer
	for more := true; more; {
		var c chunk
		var err error
		if c, more, err = s.next(reader); err != nil {
			t.Error(err)
			return nil
		}
		packed.Write(c.data)
	}
	z, err := zstd.NewReader(&packed)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer z.Close()
	b, err := io.ReadAll(z)
	if err != nil {
		t.Error(err)
	}
	return b
}

func TestSpoolServesAll(t *testing.T) {
	noise := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for name, content := range map[string][]byte{"empty": nil, "short": []byte("#!/bin/sh\n"), "noise": noise, "zeros": make([]byte, 5<<20)} {
		t.Run(name, func(t *testing.T) {
			s := spoolOf(t, content, 0, 1, 2)
			var all sync.WaitGroup
			for r := range 3 {
				all.Go(func() {
					if !bytes.Equal(drain(t, s, r), content) {
						t.Errorf("reader %d got something else", r)
					}
				})
			}
			all.Wait()
		})
	}
}

// narrow is a spool of ten chunks with a window of four.
func narrow(t *testing.T, readers ...int) *spool {
	content := make([]byte, 10*agent.ChunkLen)
	rand.NewChaCha8([32]byte{}).Read(content)
	s := spoolOf(t, content, readers...)
	s.window = 4
	return s
}

// A reader that has stopped holds the others up only beyond the window, and only until it leaves.
func TestSpoolWaitsForTheSlowWithinTheWindow(t *testing.T) {
	s := narrow(t, 0, 1)
	n := 0
	for ; n < s.window-1; n++ {
		if _, more, err := s.next(0); !more || err != nil {
			t.Fatal(more, err)
		}
	}
	s.leave(1)
	for more := true; more; n++ {
		var err error
		if _, more, err = s.next(0); err != nil {
			t.Fatal(err)
		}
	}
	if n < 10 {
		t.Errorf("%d chunks", n)
	}
	if _, _, err := s.next(1); err != errLeft {
		t.Errorf("reader that left: %v", err)
	}
}

func TestSpoolCloseEndsAll(t *testing.T) {
	s := narrow(t, 0, 1)
	if _, _, err := s.next(0); err != nil {
		t.Fatal(err)
	}
	s.close() // the compressor waits for reader 1, which never came
	if _, _, err := s.next(0); err != errLeft {
		t.Error(err)
	}
}

func TestSpoolOfNoFile(t *testing.T) {
	if _, err := newSpool(t.TempDir(), nil); err == nil {
		t.Error("a directory is a file")
	}
	if _, err := newSpool(filepath.Join(t.TempDir(), "nosuch"), nil); err == nil {
		t.Error("a file that is not there is there")
	}
}
