package launch

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// screen is a file to write to: as it is, but for a terminal.
func screen(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return &visible{w: f}
	}
	return f
}

// shown is text as it may be written to f.
func shown(f *os.File, text string) string {
	var b strings.Builder
	if !term.IsTerminal(int(f.Fd())) {
		return text
	}
	(&visible{w: &b}).Write([]byte(text))
	return b.String()
}

// visible shows a terminal's reader the control characters of what is written, as \x1b, for the terminal to obey none but
// newline and tab: a rank must not move the cursor over another's label, set the title or the clipboard. Those are the
// bytes below a blank, DEL, and U+0080 to U+009F, whether in UTF-8 or, as eight-bit terminals take them, alone.
type visible struct {
	w     io.Writer
	buf   []byte
	lead  byte // of the UTF-8 sequence under way
	conts int  // bytes that it still wants
}

func (v *visible) Write(b []byte) (int, error) {
	v.buf = v.buf[:0]
	for _, c := range b {
		if v.shows(c) {
			v.buf = append(v.buf, c)
		} else {
			v.buf = fmt.Appendf(v.buf, `\x%02x`, c)
		}
	}
	if _, err := v.w.Write(v.buf); err != nil {
		return 0, err
	}
	return len(b), nil
}

// shows says whether the terminal may have a byte as it is.
func (v *visible) shows(c byte) bool {
	if c&0xc0 == 0x80 && v.conts > 0 {
		first := v.lead
		v.conts--
		v.lead = 0
		// A second byte below 0xa0 makes a control character after C2, and would after E0, were that not overlong.
		return first != 0xc2 && first != 0xe0 || c >= 0xa0
	}
	v.lead, v.conts = c, 0
	switch {
	case c < ' ':
		return c == '\n' || c == '\t'
	case c < 0x7f || 0xa0 <= c && c < 0xc2 || c >= 0xf5:
		return true
	case c < 0xa0: // DEL, and control characters of one byte
		return false
	case c < 0xe0:
		v.conts = 1
	case c < 0xf0:
		v.conts = 2
	default:
		v.conts = 3
	}
	return true
}
