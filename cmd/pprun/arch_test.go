package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/pprun/pprun"

// allowed is the architecture: each package and what it may import beside the standard library.
// A name without a dot is a package of this module. Arrows point down only. Tests are free.
var allowed = map[string]string{
	"cmd/pprun":    "launch launch/agent ssh hostfile comm/place github.com/spf13/pflag golang.org/x/sys golang.org/x/term",
	"cmd/ppserver": "launch launch/agent launch/door launch/own hostfile comm/place github.com/spf13/pflag",

	"launch":       "launch/agent launch/door launch/own ssh hostfile comm/frame comm/place github.com/klauspost/compress golang.org/x/sys golang.org/x/term",
	"launch/agent": "launch/own comm/frame comm/place github.com/fxamacker/cbor/v2 github.com/klauspost/compress golang.org/x/sys",
	"launch/door":  "launch/own comm/frame",
	"launch/own":   "",
	"ssh":          "golang.org/x/crypto/ssh github.com/skeema/knownhosts github.com/kevinburke/ssh_config golang.org/x/sys golang.org/x/term",
	"hostfile":     "",

	"comm/coll":     "comm",
	"comm/commtest": "comm comm/frame",
	"comm":          "comm/frame comm/place github.com/fxamacker/cbor/v2 golang.org/x/sys",
	"comm/place":    "comm/frame github.com/fxamacker/cbor/v2 golang.org/x/sys",
	"comm/frame":    "",

	"examples/*": "comm comm/coll launch",
	"scripts/**": "comm comm/coll scripts/bench/bench golang.org/x/sys",

	"scripts/bench/ssh": "ssh scripts/bench/bench",
	"scripts/chaos":     "comm comm/coll comm/frame scripts/lab/labtest golang.org/x/sys",
}

// banned are names that only the listed files and directories may use outside tests.
var banned = map[string][]string{
	"InsecureIgnoreHostKey": {},
	"InsecureSkipVerify":    {"comm/place/tls.go", "launch/door/client.go"}, // which must verify by themselves: TestOwnVerification
	"ListenAndServe":        {},
	"ListenAndServeTLS":     {},
	"TempDir":               {"launch/own"}, // what is below it may be anybody's
	"MkdirTemp":             {"launch/own", "launch/agent/dir.go", "launch/foreign.go", "scripts"},
	"CreateTemp":            {"ssh/knownhosts.go"},
}

// bannedImports are packages that only the listed directories and files may import outside tests.
var bannedImports = map[string][]string{
	"encoding/gob":   {"scripts/bench"}, // a few bytes of it decode to gigabytes
	"net/http":       {},                // nothing of ours listens but the hub
	"net/http/pprof": {},
	"expvar":         {},
	"crypto/md5":     {"examples"},
	"crypto/sha1":    {},
	"net/rpc":        {"scripts/bench"},
	"math/rand":      {},                                                                     // what guards a job comes from crypto/rand
	"math/rand/v2":   {"scripts", "examples", "ssh/dial.go", "comm/init.go", "comm/dial.go"}, // spread of retries, name of a job of one
	"unsafe":         {"comm"},
	"C":              {"examples/cgo"},
}

// topLevel are the directories, Go files and texts of the root; dot-files are free.
var topLevel = strings.Fields("launch comm ssh hostfile cmd examples scripts README.md")

func TestArrows(t *testing.T) {
	tree := parseTree(t)
	for dir, p := range tree {
		may, ok := rule(dir)
		if !ok {
			t.Errorf("%s: a package that the architecture does not know: add it to the table", dir)
			continue
		}
		for imp, files := range p.imports {
			if !std(imp) && !matches(imp, strings.Fields(may)) {
				t.Errorf("%s imports %s; %s may import: %s", files[0], imp, dir, may)
			}
		}
	}
}

// TestCommLinksNoLauncher follows the imports, so that a program which links comm carries no launcher.
func TestCommLinksNoLauncher(t *testing.T) {
	tree := parseTree(t)
	var visit func(dir, from string)
	seen := map[string]bool{}
	visit = func(dir, from string) {
		if seen[dir] {
			return
		}
		seen[dir] = true
		for _, no := range []string{"launch", "ssh", "golang.org/x/crypto", "github.com/klauspost/compress"} {
			if under(dir, no) {
				t.Errorf("comm links %s (imported by %s)", dir, from)
			}
		}
		if p := tree[dir]; p != nil {
			for imp := range p.imports {
				visit(imp, dir)
			}
		}
	}
	visit("comm", "the test")
	visit("comm/coll", "the test")
}

func TestBanned(t *testing.T) {
	for _, p := range parseTree(t) {
		for _, found := range p.bans() {
			t.Error(found)
		}
	}
}

// bans lists what is banned and yet there.
func (p *parsedPackage) bans() (found []string) {
	for imp, files := range p.imports {
		homes, ok := bannedImports[imp]
		for _, file := range files {
			if ok && !slices.ContainsFunc(homes, func(h string) bool { return under(file, h) }) {
				found = append(found, fmt.Sprintf("%s imports %s, which is only for %v", file, imp, homes))
			}
		}
	}
	for name, files := range p.names {
		homes, ok := banned[name]
		for _, file := range files {
			if ok && !slices.ContainsFunc(homes, func(h string) bool { return under(file, h) }) {
				found = append(found, fmt.Sprintf("%s: %s is banned", file, name))
			}
		}
	}
	return found
}

// TestOwnVerification holds each file that turns crypto/tls's verification off to verifying the other end itself: by the
// chain of its certificate, or by a key that is known.
func TestOwnVerification(t *testing.T) {
	tree := parseTree(t)
	for dir, names := range map[string][]string{
		"comm/place":  {"VerifyConnection", "VerifyOptions", "Roots"},
		"launch/door": {"VerifyConnection", "pin", "Equal", "proved"},
	} {
		p := tree[dir]
		for _, file := range p.names["InsecureSkipVerify"] {
			for _, name := range names {
				if !slices.Contains(p.names[name], file) {
					t.Errorf("%s uses InsecureSkipVerify without %s", file, name)
				}
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for dir, p := range parseTree(t) {
		want := "Package " + p.name + " "
		if p.name == "main" {
			want = "" // a command's comment begins with what it does
		}
		if p.doc == "" || !strings.HasPrefix(p.doc, want) {
			t.Errorf("%s: package comment %q, want one that begins with %q", dir, firstLine(p.doc), want)
		}
	}
}

func TestTopLevelNames(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if strings.HasPrefix(e.Name(), ".") || !e.IsDir() && ext != ".go" && ext != ".md" {
			continue
		}
		if !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s at the top of the tree: only %s belong there", e.Name(), strings.Join(topLevel, " "))
		}
	}
}

const root = "../.."

// A parsedPackage is what the files of one directory say, tests left out.
type parsedPackage struct {
	name, doc string
	imports   map[string][]string // path, of this module without its prefix -> files that import it
	names     map[string][]string // identifier -> files that hold it
}

// parseTree reads the tree in this process: what a child process reads, go test does not see when it caches results.
func parseTree(t *testing.T) map[string]*parsedPackage {
	t.Helper()
	tree := map[string]*parsedPackage{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return filepath.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		dir := parent(rel)
		if tree[dir] == nil {
			tree[dir] = &parsedPackage{imports: map[string][]string{}, names: map[string][]string{}}
		}
		return tree[dir].add(path, rel)
	})
	if err != nil {
		t.Fatal(err)
	}
	if tree["hostfile"] == nil || tree["comm/frame"] == nil {
		t.Fatalf("only %d packages found from %s", len(tree), root)
	}
	return tree
}

func (p *parsedPackage) add(path, rel string) error {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	p.name = f.Name.Name
	if f.Doc != nil {
		p.doc += f.Doc.Text()
	}
	for _, s := range f.Imports {
		imp, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			return err
		}
		imp = strings.TrimPrefix(imp, module+"/")
		p.imports[imp] = append(p.imports[imp], rel)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && !slices.Contains(p.names[id.Name], rel) {
			p.names[id.Name] = append(p.names[id.Name], rel)
		}
		return true
	})
	return nil
}

// rule finds the line of the table for dir: its own, its parent's with /*, or an ancestor's with /**.
func rule(dir string) (string, bool) {
	if may, ok := allowed[dir]; ok {
		return may, true
	}
	if may, ok := allowed[parent(dir)+"/*"]; ok {
		return may, true
	}
	for up := parent(dir); up != "."; up = parent(up) {
		if may, ok := allowed[up+"/**"]; ok {
			return may, true
		}
	}
	return "", false
}

func parent(dir string) string { return filepath.ToSlash(filepath.Dir(dir)) }

// std reports whether imp, stripped of this module's prefix, is of the standard library.
func std(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".") && !slices.Contains(topLevel, first)
}

// matches reports whether imp is one of may: packages of this module by their whole name, others with what is below them.
func matches(imp string, may []string) bool {
	return slices.ContainsFunc(may, func(m string) bool {
		return imp == m || strings.Contains(m, ".") && under(imp, m)
	})
}

func under(dir, top string) bool { return dir == top || strings.HasPrefix(dir, top+"/") }

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// TestBansBite holds the bans to find what they ban.
func TestBansBite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hole.go")
	source := "package hole\nimport (\n\"encoding/gob\"\n\"math/rand\"\n)\nvar _, _, _ = ssh.InsecureIgnoreHostKey(), tls.Config{InsecureSkipVerify: true}, gob.NewDecoder\nvar _, _, _ = rand.Int, os.TempDir(), os.MkdirTemp\n"
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &parsedPackage{imports: map[string][]string{}, names: map[string][]string{}}
	if err := p.add(path, "comm/hole.go"); err != nil {
		t.Fatal(err)
	}
	if got, want := len(p.bans()), 6; got != want {
		t.Errorf("%d found, want %d: %q", got, want, p.bans())
	}
}

// testFiles are the texts of all test files, by path.
func testFiles(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		texts[path] = string(b)
		return err
	})
	if err != nil || len(texts) < 50 {
		t.Fatalf("%d test files found, %v", len(texts), err)
	}
	return texts
}

// TestFuzzTargetsAreBounded holds each fuzz target to little memory: decoders must not make gigabytes of a few bytes.
func TestFuzzTargetsAreBounded(t *testing.T) {
	for path, text := range testFiles(t) {
		targets, bounds := strings.Count(text, "\nfunc Fuzz"), strings.Count(text, "\t\tdefer bounded.Memory(t)()\n")
		if targets != bounds {
			t.Errorf("%s: %d fuzz targets, %d of them bounded", path, targets, bounds)
		}
	}
}
