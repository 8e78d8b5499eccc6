package launch

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// beside is where an executable for a platform is looked for: where the one for this platform is, with another name.
func (p platform) beside(executable string) string { return executable + "-" + p.OS + "-" + p.Arch }

// siblings are the executables beside this one that are for other platforms, by platform.
func siblings() map[string]string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	all := map[string]string{}
	names, _ := os.ReadDir(filepath.Dir(self))
	for _, e := range names {
		suffix, ok := strings.CutPrefix(e.Name(), filepath.Base(self)+"-")
		goos, arch, dash := strings.Cut(suffix, "-")
		p := platform{goos, arch}
		if !ok || !dash || p == ownPlatform {
			continue
		}
		if h, err := siblingHeader(self, p); err == nil && !h.Script && h.fits(p) {
			all[p.String()] = p.beside(self)
		}
	}
	return all
}

// siblingHeader is fileHeader of the executable beside this one that is for a platform. Where anybody may put files beside
// this one, as in /tmp, it has to be of the same owner as this one, of this user or of root.
func siblingHeader(self string, p platform) (header, error) {
	file := p.beside(self)
	own, err := ownerOf(self)
	if err != nil {
		return header{}, err
	}
	switch uid, err := ownerOf(file); {
	case err != nil:
		return header{}, err
	case uid != own && uid != 0 && uid != os.Getuid():
		return header{}, &fs.PathError{Op: "open", Path: file, Err: fmt.Errorf("belongs to uid %d", uid)}
	}
	return fileHeader(file)
}

// ownerOf is whose a file or link is.
func ownerOf(path string) (uid int, err error) {
	st, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return int(st.Sys().(*syscall.Stat_t).Uid), nil
}
