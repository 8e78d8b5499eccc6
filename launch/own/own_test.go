package own

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// other is the uid of the tests' attacker.
const other = 65534

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make files of another user")
	}
}

// A thing is what stands at a path: its type, owner and mode.
type thing struct {
	kind string // dir, file, link, fifo, socket, hard
	uid  int
	mode uint32
}

// put makes it. What a link or another name leads to is to.
func (x thing) put(t *testing.T, path, to string) {
	t.Helper()
	var err error
	switch x.kind {
	case "dir":
		err = os.MkdirAll(path, 0o700)
	case "file":
		err = os.WriteFile(path, nil, 0o600)
	case "link":
		err = os.Symlink(to, path)
	case "hard":
		err = os.Link(to, path)
	case "fifo":
		err = syscall.Mkfifo(path, 0o600)
	case "socket":
		err = syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0)
	}
	if err == nil && x.uid != 0 {
		err = os.Lchown(path, x.uid, x.uid)
	}
	if err == nil && x.mode != 0 {
		err = syscall.Chmod(path, x.mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDirectories has MUNGE's cases (its tests 0101 to 0105) of what a directory of our own, and those above it, may be.
func TestDirectories(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name        string
		above, it   thing
		dir, parent string // why it is refused as either; empty: it is not
	}{
		{"ours", thing{"dir", 0, 0o755}, thing{"dir", 0, 0o700}, "", ""},
		{"for all to read", thing{"dir", 0, 0o755}, thing{"dir", 0, 0o755}, "", ""},
		{"another's", thing{"dir", 0, 0o755}, thing{"dir", other, 0o700}, "belongs to uid 65534", "belongs to uid 65534"},
		{"another's, open", thing{"dir", 0, 0o755}, thing{"dir", other, 0o1777}, "belongs to uid 65534", "belongs to uid 65534"},
		{"group may write", thing{"dir", 0, 0o755}, thing{"dir", 0, 0o770}, "others may write there (mode 0770)", "others may write there (mode 0770)"},
		{"all may write", thing{"dir", 0, 0o755}, thing{"dir", 0, 0o707}, "others may write there (mode 0707)", "others may write there (mode 0707)"},
		{"group may write, sticky", thing{"dir", 0, 0o755}, thing{"dir", 0, 0o1770}, "others may write there", ""},
		{"all may write, sticky", thing{"dir", 0, 0o755}, thing{"dir", 0, 0o1777}, "others may write there", ""},
		{"above: another's", thing{"dir", other, 0o755}, thing{"dir", 0, 0o700}, "/above above it: belongs to uid 65534", "/above above it: belongs to uid 65534"},
		{"above: another's, sticky", thing{"dir", other, 0o1777}, thing{"dir", 0, 0o700}, "above it: belongs to uid 65534", "above it: belongs to uid 65534"},
		{"above: group may write", thing{"dir", 0, 0o775}, thing{"dir", 0, 0o700}, "/above above it: others may write there (mode 0775)", "/above above it: others may write"},
		{"above: all may write", thing{"dir", 0, 0o777}, thing{"dir", 0, 0o700}, "/above above it: others may write there (mode 0777)", "/above above it: others may write"},
		{"above: group may write, sticky", thing{"dir", 0, 0o1775}, thing{"dir", 0, 0o700}, "", ""},
		{"above: all may write, sticky", thing{"dir", 0, 0o1777}, thing{"dir", 0, 0o700}, "", ""},
		{"link to ours", thing{"dir", 0, 0o755}, thing{kind: "link"}, "not a directory", ""},
		{"another's link to ours", thing{"dir", 0, 0o1777}, thing{kind: "link", uid: other}, "not a directory", ""},
		{"file", thing{"dir", 0, 0o755}, thing{"file", 0, 0o700}, "not a directory", "not a directory"},
		{"fifo", thing{"dir", 0, 0o755}, thing{"fifo", 0, 0o700}, "not a directory", "not a directory"},
		{"socket", thing{"dir", 0, 0o755}, thing{"socket", 0, 0o700}, "not a directory", "not a directory"},
		{"nothing", thing{"dir", 0, 0o755}, thing{}, "no such file or directory", "no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := t.TempDir()
			victim := filepath.Join(base, "victim")
			thing{"dir", 0, 0o700}.put(t, victim, "")
			above := filepath.Join(base, "above")
			path := filepath.Join(above, "it")
			thing{"dir", 0, 0o700}.put(t, above, "")
			c.it.put(t, path, victim)
			c.above.put(t, above, "")
			want := path
			if c.it.kind == "link" {
				want = victim
			}
			for _, f := range []struct {
				name string
				call func(string) (string, error)
				why  string
			}{{"Dir", Dir, c.dir}, {"Parent", Parent, c.parent}} {
				got, err := f.call(path)
				if f.why == "" && (err != nil || got != want) || f.why != "" && (err == nil || !strings.Contains(err.Error(), f.why)) {
					t.Errorf("%s: %q, %v, want %q, %q", f.name, got, err, want, f.why)
				}
			}
		})
	}
}

// TestTargets puts what an attacker can put where a file is to be written, in a directory for all and in one of ours.
func TestTargets(t *testing.T) {
	needRoot(t)
	for i, c := range []struct {
		it   thing
		why  string // it is refused in a directory for all; empty: it is not
		mine bool   // the file that is written is the victim's, in a directory of ours: the user asked for it
	}{
		{thing{}, "", false},
		{thing{"file", 0, 0o600}, "", false},
		{thing{"file", other, 0o666}, "belongs to uid 65534", false},
		{thing{kind: "link", uid: other}, "belongs to uid 65534", true},
		{thing{kind: "link"}, "is no regular file", true},
		{thing{kind: "hard"}, "has another name elsewhere", true},
		{thing{"fifo", other, 0o666}, "belongs to uid 65534", false},
		{thing{"fifo", 0, 0o600}, "is no regular file", false},
		{thing{"socket", other, 0o666}, "belongs to uid 65534", false},
		{thing{"dir", other, 0o777}, "belongs to uid 65534", false},
	} {
		for _, in := range []thing{{"dir", 0, 0o1777}, {"dir", 0, 0o777}, {"dir", other, 0o755}, {"dir", 0, 0o755}} {
			ours := in == thing{"dir", 0, 0o755}
			t.Run(fmt.Sprintf("%d %s in %v", i, c.it.kind, in), func(t *testing.T) {
				public, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
				if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(public, "out")
				c.it.put(t, path, victim)
				in.put(t, public, "")
				_, targetErr := Target(path)
				if ours {
					if targetErr != nil {
						t.Errorf("Target: %v in a directory of ours", targetErr)
					}
					if c.it.kind == "fifo" { // opening it waits for a reader, as the user wants
						return
					}
				}
				f, err := Create(path, 0o600)
				if err == nil {
					f.WriteString("report")
					f.Close()
				}
				b, _ := os.ReadFile(victim)
				switch {
				case ours:
					if wants := c.mine; (string(b) == "report") != wants {
						t.Errorf("the victim holds %q in a directory of ours", b)
					}
				case c.why == "" && (err != nil || targetErr != nil):
					t.Errorf("Create: %v, Target: %v", err, targetErr)
				case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why) || targetErr == nil || !strings.Contains(targetErr.Error(), c.why)):
					t.Errorf("Create: %v, Target: %v, want %q", err, targetErr, c.why)
				case string(b) != "precious":
					t.Errorf("the victim holds %q", b)
				}
			})
		}
	}
}
