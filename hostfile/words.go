package hostfile

import "strings"

// A token is a word of the file and the column it begins at.
type token struct {
	text string
	col  int
}

const blank = " \t\r\v\f"

// words splits a line at blanks, without its comments. Blanks around = do not count, and // begins a comment only
// where a word could begin, because of ssh://.
func (p *parser) words(line string) []token {
	var ws []token
	for at := 0; at < len(line); {
		rest := line[at:]
		switch {
		case p.comment != nil:
			end := strings.Index(rest, "*/")
			if end < 0 {
				return ws
			}
			p.comment = nil
			at += end + len("*/")
		case strings.HasPrefix(rest, "/*"):
			p.comment = &Error{File: p.name, Line: p.line, Column: at + 1, Found: "/*", Want: "*/ at the end of the comment"}
			at += len("/*")
		case rest[0] == '#', strings.HasPrefix(rest, "//"):
			return ws
		case strings.IndexByte(blank, rest[0]) >= 0:
			at++
		default:
			word := firstWord(rest)
			if last := len(ws) - 1; last >= 0 && (word[0] == '=' || strings.HasSuffix(ws[last].text, "=")) {
				ws[last].text += word
			} else {
				ws = append(ws, token{word, at + 1})
			}
			at += len(word)
		}
	}
	return ws
}

// firstWord is what comes before the first blank or comment.
func firstWord(s string) string {
	if end := strings.IndexAny(s, blank+"#"); end >= 0 {
		s = s[:end]
	}
	s, _, _ = strings.Cut(s, "/*")
	return s
}

// unquote takes away the quotes that Open MPI allows around a word or a value.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
