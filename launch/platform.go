package launch

import (
	"fmt"
	"runtime"
	"strings"
)

// platform is what a program is built for, in Go's words.
type platform struct{ OS, Arch string }

var ownPlatform = platform{runtime.GOOS, runtime.GOARCH}

func (p platform) String() string { return p.OS + "/" + p.Arch }

// parsePlatform reads the form of String.
func parsePlatform(text string) (platform, error) {
	goos, arch, ok := strings.Cut(text, "/")
	if !ok || !isWord(goos) || !isWord(arch) {
		return platform{}, fmt.Errorf("%q is no platform: want GOOS/GOARCH, such as linux/arm64", text)
	}
	return platform{goos, arch}, nil
}

// isWord keeps what nodes say of themselves out of paths and arguments.
func isWord(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// unameArch is GOARCH of what uname -m prints; machines not listed are called alike.
var unameArch = map[string]string{
	"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i486": "386", "i586": "386", "i686": "386",
	"armv7l": "arm", "armv8l": "arm", "loongarch64": "loong64",
}

// unamePlatform is the platform of a node whose uname says so.
func unamePlatform(system, machine string) (platform, error) {
	arch, ok := unameArch[machine]
	if !ok {
		arch = machine
	}
	p := platform{strings.ToLower(system), arch}
	if !isWord(p.OS) || !isWord(p.Arch) {
		return p, fmt.Errorf("its uname -sm says %q: pprun knows no such platform", system+" "+machine)
	}
	return p, nil
}
