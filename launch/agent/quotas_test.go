package agent

import "testing"

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "17": 17, "1k": 1 << 10, "500M": 500 << 20, "2GiB": 2 << 30, "3 TB": -1, "1tb": 1 << 40,
		"": -1, "M": -1, "-1": -1, "9999999999T": -1, "1.5G": -1, "1X": -1} {
		got, err := ParseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
}
