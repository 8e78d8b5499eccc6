package agent

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// loaderOf is the PT_INTERP of an executable, empty for a static one.
func loaderOf(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return ""
		}
		return string(bytes.TrimRight(b, "\x00"))
	}
	return ""
}

// libraryDirs are where glibc's loader looks besides its cache, on one distribution or another.
var libraryDirs = []string{"/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"}

// missingLibraries are the shared libraries that f names and nothing on this node provides, path included. It only
// judges programs for glibc on systems that keep its cache: elsewhere loaders look in places of their own.
func missingLibraries(f *elf.File, loader, path string) []string {
	known, err := os.ReadFile("/etc/ld.so.cache")
	if err != nil || !strings.Contains(filepath.Base(loader), "ld-linux") {
		return nil
	}
	needed, err := f.ImportedLibraries()
	if err != nil {
		return nil
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		if paths, _ := f.DynString(tag); len(paths) > 0 {
			return nil // it brings libraries of its own, which may need others there
		}
	}
	dirs := append(filepath.SplitList(path), libraryDirs...)
	return slices.DeleteFunc(needed, func(lib string) bool {
		// The cache keeps paths, of which names are the ends.
		return strings.Contains(lib, "/") || bytes.Contains(known, []byte("/"+lib+"\x00")) || lib == filepath.Base(loader) ||
			slices.ContainsFunc(dirs, func(d string) bool { _, err := os.Stat(filepath.Join(d, lib)); return err == nil })
	})
}
