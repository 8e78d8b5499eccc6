package hostfile

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// maxErrors is how many mistakes are reported at once.
const maxErrors = 10

// An Error is one mistake in a hosts file, a host list or a host expression.
type Error struct {
	File   string // name of the file; "host list", "host expression" or the variable of the environment for those
	Line   int    // from 1; 0 if there are no lines, or the file as a whole is meant
	Column int    // from 1, in bytes; 0 if the whole is meant
	Found  string // the text that is wrong
	Want   string // what is allowed there
}

// Error says where, what was found and what is allowed: "hosts.txt:3:7: found slots=abc: want a number from 1 to 65536".
func (e *Error) Error() string {
	return fmt.Sprintf("%s: found %s: want %s", position(e.File, e.Line, e.Column), printable(e.Found), e.Want)
}

func position(file string, line, column int) string {
	switch {
	case line > 0:
		return fmt.Sprintf("%s:%d:%d", file, line, column)
	case column > 0:
		return fmt.Sprintf("%s, column %d", file, column)
	}
	return file
}

// printable returns s so that it can stand in a message: short, and quoted if a terminal might obey it.
func printable(s string) string {
	const max = 60
	if len(s) > max {
		s = strings.ToValidUTF8(s[:max], "") + "..."
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return strconv.Quote(s)
	}
	return s
}
