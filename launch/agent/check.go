package agent

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// unfit is a failure of a program that the node cannot run.
func (a *agent) unfit(code int, name, why, fix string) *Failure {
	return &Failure{Phase: "check", Rank: -1, Code: code, Text: fmt.Sprintf("%s on %s: %s", name, a.host, why), Fix: fix}
}

// inspect says what is certain to keep a program from running: an interpreter, loader or library that the node lacks.
// Where it is not certain it says nothing, and the program may try. libraries is the LD_LIBRARY_PATH it will have.
func (a *agent) inspect(f io.ReaderAt, name, libraries string) error {
	head := make([]byte, 4096)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return a.inspectScript(head, name)
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return a.inspectELF(f, name, libraries)
	}
	return nil
}

func (a *agent) inspectScript(head []byte, name string) error {
	line, _, _ := bytes.Cut(head[2:], []byte("\n"))
	fields := strings.Fields(strings.TrimRight(string(line), "\r"))
	if len(fields) == 0 {
		return a.unfit(126, name, "its #! line names no interpreter", "begin it with the path of one: #!/bin/sh")
	}
	interpreter := fields[0]
	if bytes.HasSuffix(line, []byte("\r")) && len(fields) == 1 {
		if _, err := os.Stat(interpreter + "\r"); err != nil {
			return a.unfit(126, name, "its #! line ends in CR, as Windows writes lines", "sed -i 's/\\r$//' "+name)
		}
	}
	if _, err := os.Stat(interpreter); errors.Is(err, os.ErrNotExist) {
		return a.unfit(127, name, fmt.Sprintf("its interpreter %s is not there", interpreter), "install it there, or change the #! line")
	}
	return nil
}

func (a *agent) inspectELF(r io.ReaderAt, name, libraries string) error {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil
	}
	loader := loaderOf(f)
	if loader == "" {
		return nil
	}
	if _, err := os.Stat(loader); errors.Is(err, os.ErrNotExist) {
		return a.unfit(127, name, fmt.Sprintf("its loader %s is not there", loader), "build it with CGO_ENABLED=0 (or statically), or for that system")
	}
	if missing := missingLibraries(f, loader, libraries); len(missing) > 0 {
		return a.unfit(127, name, "no "+strings.Join(missing, ", ")+" there", "install it there, or build with CGO_ENABLED=0 (or statically)")
	}
	return nil
}
