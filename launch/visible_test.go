package launch

import (
	"bytes"
	"testing"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":                 "plain\ttext\n",
		"größer – 日本語 🙂":                "größer – 日本語 🙂",
		"\r[0] forged":                  `\x0d[0] forged`,
		"\x1b]52;c;eA==\a\x1bc":         `\x1b]52;c;eA==\x07\x1bc`,
		"\x00\b\x7f\v":                  `\x00\x08\x7f\x0b`,
		"\u009b2J \u0080 \u00a0":        "\xc2\\x9b2J \xc2\\x80 \u00a0",
		"\x9b2J \x80\x9f\xa0 \xe9t\xe9": `\x9b2J \x80\x9f` + "\xa0 \xe9t\xe9",
		"\xe0\x9b\x9b \xe2A\x9b":        "\xe0\\x9b\x9b \xe2A\\x9b",
		"\xf0\x9f\x99\x82\x9b":          "🙂\\x9b",
	} {
		for _, piece := range []int{len(in), 1, 2} { // characters may be cut anywhere
			var got bytes.Buffer
			v := &visible{w: &got}
			for b := []byte(in); len(b) > 0; {
				n := min(piece, len(b))
				if m, err := v.Write(b[:n]); m != n || err != nil {
					t.Fatal(m, err)
				}
				b = b[n:]
			}
			if got.String() != want {
				t.Errorf("%q in pieces of %d shows %q, want %q", in, piece, &got, want)
			}
		}
	}
}
