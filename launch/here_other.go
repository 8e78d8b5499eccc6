//go:build !linux

package launch

import "os"

func ownExecutable() (string, error) { return os.Executable() }
