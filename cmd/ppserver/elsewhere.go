package main

import (
	"errors"

	"github.com/spf13/pflag"
)

// elsewhere are flags of Parallel Python's ppserver, and what takes their place here.
var elsewhere = map[string]string{
	"a": "use --announce", "b": "--announce goes to the network of --listen", "i": "use --listen", "k": "use --max-time",
	"s": "a secret never stands on a command line: ppserver keygen --secret makes one", "d": "see --log-format", "f": "see --log-format",
	"r": "a process that dies is started again anyway", "n": "it is not needed",
}

// flagError says what to do instead.
func flagError(err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if there := elsewhere[e.GetSpecifiedName()]; there != "" {
			return usagef("unknown flag -%s: %s", e.GetSpecifiedName(), there)
		}
	}
	return usagef("%v: see ppserver --help", err)
}
