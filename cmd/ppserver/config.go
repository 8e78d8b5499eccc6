package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pprun/pprun/launch/door"
	"github.com/spf13/pflag"
)

// notInFile are flags that no file of options may have, and what to do instead.
var notInFile = map[string]string{
	"config": "a file of options names no other",
	"help":   "is for the command line", "version": "is for the command line",
	"json":   "is for ppserver status",
	"secret": "is for ppserver keygen; a secret stands in the directory of keys",
}

// readConfig sets flags that the command line has not from a file of lines "flag = value".
func readConfig(f *pflag.FlagSet, file string) error {
	b, err := door.ReadOwn(file)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	seen := map[string]int{}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line, _, _ = strings.Cut(" "+strings.ReplaceAll(line, "\t", " "), " #")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		flag := f.Lookup(name)
		switch {
		case !ok:
			err = fmt.Errorf("%.80q: want flag = value", line)
		case flag == nil:
			err = fmt.Errorf("%.80q is no flag: want one of ppserver --help, without dashes", name)
		case notInFile[name] != "":
			err = fmt.Errorf("%s: %s", name, notInFile[name])
		case seen[name] > 0:
			err = fmt.Errorf("%s: is in line %d, too", name, seen[name])
		case flag.Changed: // the command line counts
		default:
			if err = f.Set(name, value); err != nil {
				err = fmt.Errorf("%s = %.80q: %w", name, value, errors.Unwrap(err))
			}
		}
		if err != nil {
			return usagef("%s:%d: %v", file, n, err)
		}
		seen[name] = n
	}
	return nil
}
