package agent

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestLeftovers(t *testing.T) {
	parent, outside := t.TempDir(), t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", parent)
	const job = "0123456789abcdef"
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{
		{"pprun-" + job + "-gone", 0o700}, {"pprun-" + job + "-open", 0o777},
		{"pprun-notes", 0o700}, {"pprun-0123-x", 0o700}, {job + "-x", 0o700},
	} {
		path := filepath.Join(parent, d.name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, "agent"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, d.mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(parent, "pprun-"+job+"-link")); err != nil {
		t.Fatal(err)
	}
	var live dirs
	path, err := live.sockets(job)
	if err != nil || filepath.Dir(path) != parent {
		t.Fatal(path, err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * leftoverAge)
	for _, e := range entries {
		if err := os.Chtimes(filepath.Join(parent, e.Name()), old, old); err != nil {
			t.Fatal(err)
		}
	}
	young := "pprun-" + job + "-young"
	if err := os.Mkdir(filepath.Join(parent, young), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(outside, old, old); err != nil {
		t.Fatal(err)
	}

	removeLeftovers(parent, "")

	var left []string
	entries, _ = os.ReadDir(parent)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := []string{"pprun-" + job + "-link", "pprun-" + job + "-open", "pprun-notes", "pprun-0123-x", job + "-x", filepath.Base(path), young}
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}

	live.remove()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("an agent leaves its directory: %v", err)
	}
}

// TestLeftoversOfNobody has agents make their directories while a guard of another job looks for old ones: each gets its
// lock, without which the directory would be a leftover a minute later.
func TestLeftoversOfNobody(t *testing.T) {
	parent := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", parent)
	stop := make(chan struct{})
	var guard sync.WaitGroup
	guard.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				removeLeftovers(parent, "")
			}
		}
	})
	defer guard.Wait()
	defer close(stop)
	for range 1000 {
		var d dirs
		path, err := d.sockets("0123456789abcdef")
		if err != nil {
			t.Fatal(err)
		}
		if len(d.locks) == 0 {
			t.Fatalf("no lock on %s", path)
		}
		d.remove()
	}
}
