package main

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNamedTestsExist holds what the texts promise to tests that there are.
func TestNamedTestsExist(t *testing.T) {
	all := strings.Join(slices.Collect(maps.Values(testFiles(t))), "\n")
	for text, least := range map[string]int{"README.md": 40, ".github/SECURITY.md": 30} {
		names := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(read(t, text), -1)
		if len(names) < least {
			t.Errorf("%s names only %d tests", text, len(names))
		}
		for _, name := range names {
			if !strings.Contains(all, "\nfunc "+name+"(") {
				t.Errorf("%s names %s: there is no such test", text, name)
			}
		}
	}
}

// TestNamedFilesExist holds the map of the code to files that there are. A bare name is of the directory named last.
func TestNamedFilesExist(t *testing.T) {
	const text = ".github/CONTRIBUTING.md"
	names := regexp.MustCompile("`([a-z_/]+\\.go)`").FindAllStringSubmatch(read(t, text), -1)
	if len(names) < 20 {
		t.Errorf("%s names only %d files", text, len(names))
	}
	dir := ""
	for _, name := range names {
		file := name[1]
		if strings.Contains(file, "/") {
			dir = path.Dir(file)
		} else {
			file = path.Join(dir, file)
		}
		if _, err := os.Stat(filepath.Join(root, file)); err != nil {
			t.Errorf("%s names %s: %v", text, name[1], err)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
