//go:build linux

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// keep puts a program into a cache, last used so long ago, and returns it open.
func keep(t *testing.T, c *cache, program, name string, ago time.Duration) *os.File {
	t.Helper()
	digest := digestOf([]byte(program))
	f, temp, err := c.create(digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(program); err != nil {
		t.Fatal(err)
	}
	if f, err = c.commit(f, temp, &Stage{Name: name, Digest: digest, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	age(t, filepath.Join(c.path, digest), ago)
	return f
}

func age(t *testing.T, path string, ago time.Duration) {
	t.Helper()
	then := time.Now().Add(-ago)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
}

func TestEvict(t *testing.T) {
	const day = 24 * time.Hour
	for _, want := range []struct {
		most int64
		left string
	}{
		{1 << 30, "young middle used"}, // what is old goes by its age
		{2000, "young used"},           // then what was used least recently
		{0, "used"},
	} {
		c, err := makeCache(filepath.Join(t.TempDir(), "cache"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		for name, ago := range map[string]time.Duration{"old": 31 * day, "young": 0, "middle": 10 * day} {
			keep(t, c, strings.Repeat(name[:1], 1000), name, ago).Close()
		}
		used := keep(t, c, strings.Repeat("u", 1000), "used", 40*day)
		defer used.Close()
		other, err := c.find(digestOf([]byte(strings.Repeat("o", 1000))), "alias", 1000) // a second name, and use
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		age(t, filepath.Join(c.path, digestOf([]byte(strings.Repeat("o", 1000)))), 31*day)
		stale := filepath.Join(c.path, temporary+"stale")
		os.WriteFile(stale, nil, 0o600)
		age(t, stale, 2*day)
		fresh := filepath.Join(c.path, temporary+"fresh")
		os.WriteFile(fresh, nil, 0o600)
		agent := filepath.Join(c.path, "agent-"+digestOf(nil))
		os.WriteFile(agent, nil, 0o700)
		age(t, agent, 31*day)

		c.evict(want.most, cacheAge)
		var left []string
		for _, name := range []string{"old", "young", "middle", "used"} {
			if there, _ := filepath.Glob(filepath.Join(c.path, "*", name)); len(there) > 0 {
				left = append(left, name)
			}
		}
		if got := strings.Join(left, " "); got != want.left {
			t.Errorf("at most %d bytes: left are %s, want %s", want.most, got, want.left)
		}
		if dirs, _ := filepath.Glob(filepath.Join(c.path, "????*")); len(dirs) != len(left)+1 {
			t.Errorf("left are %v", dirs)
		}
		if _, err := os.Stat(fresh); err != nil {
			t.Error(err)
		}
	}
}

// While programs start, one evicts all that it can: what starts or runs is there, in whichever version.
func TestEvictionRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	open := func() *cache {
		c, err := makeCache(path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var evicted, copied atomic.Int64
	done := make(chan struct{})
	var evictor sync.WaitGroup
	evictor.Go(func() {
		c := open()
		defer c.close()
		for {
			select {
			case <-done:
				return
			default:
				evicted.Add(int64(c.evict(0, 0)))
			}
		}
	})
	const starters, starts = 4, 250
	var all sync.WaitGroup
	for n := range starters {
		all.Go(func() {
			c := open()
			defer c.close()
			for i := range starts {
				program := fmt.Sprintf("#!/bin/sh\nexit %d\n", (n+i)%2) // two versions
				digest := digestOf([]byte(program))
				f, err := c.find(digest, "prog", int64(len(program)))
				if os.IsNotExist(err) {
					copied.Add(1)
					var temp string
					if f, temp, err = c.create(digest); err == nil {
						f.WriteString(program)
						f, err = c.commit(f, temp, &Stage{Name: "prog", Digest: digest, Size: int64(len(program))})
					}
				}
				if err != nil {
					t.Errorf("start %d of %d: %v", i, n, err)
					return
				}
				var status syscall.WaitStatus
				pid, err := spawn(f.Name(), []string{"prog"}, &syscall.ProcAttr{})
				if err == nil {
					_, err = syscall.Wait4(pid, &status, 0, nil)
				}
				if err != nil || status.ExitStatus() != (n+i)%2 {
					t.Errorf("start %d of %d: exit status %d, %v", i, n, status.ExitStatus(), err)
				}
				f.Close()
			}
		})
	}
	all.Wait()
	close(done)
	evictor.Wait()
	t.Logf("%d starts, %d copied, %d evicted", starters*starts, copied.Load(), evicted.Load())
	if evicted.Load() == 0 || copied.Load() < 3 {
		t.Errorf("%d evicted, %d copied: nothing was put to the test", evicted.Load(), copied.Load())
	}
}
