package hostfile

import (
	"slices"
	"strings"
	"testing"

	"github.com/pprun/pprun/scripts/bounded"
)

func TestExpand(t *testing.T) {
	for expr, want := range map[string]string{
		"a":                       "a",
		"a,b,a":                   "a b a",
		"node[01-04,07]":          "node01 node02 node03 node04 node07",
		"foo[0-3]-eth0":           "foo0-eth0 foo1-eth0 foo2-eth0 foo3-eth0",
		"rack[0-1]n[00-01]":       "rack0n00 rack0n01 rack1n00 rack1n01",
		"x[0-1][0-1]":             "x00 x01 x10 x11",
		"foo[12,4,1-2]":           "foo12 foo4 foo1 foo2",
		"foo[2-3,12],bar,b[9-11]": "foo2 foo3 foo12 bar b9 b10 b11",
		"p[00-3]p":                "p00p p01p p02p p03p",
		"f00[7-8,10]":             "f007 f008 f0010",
		"[1-2]n":                  "1n 2n",
		"n[098-101]":              "n098 n099 n100 n101",
		"n[0000001-3]":            "n0000001 n0000002 n0000003",
	} {
		got, err := Expand(expr)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, %v, want %s", expr, got, err, want)
		}
	}
	if got, err := Expand("n[0-65535]"); err != nil || len(got) != MaxHosts || got[MaxHosts-1] != "n65535" {
		t.Errorf("%d names, %v", len(got), err)
	}
}

func TestExpandErrors(t *testing.T) {
	const pair, span, cap = "want a range in one pair of brackets, like [1-4,7]", "want numbers or ranges from low to high, like [01-04,7]", "want at most 65536 hosts in all"
	for expr, want := range map[string]string{
		"":                       `column 1: found "": want a host name`,
		"a,":                     `column 3: found "": want a host name`,
		"[]":                     "column 2: found []: " + span,
		"foo[]":                  "column 5: found []: " + span,
		"foo[":                   "column 4: found [: " + pair,
		"foo]":                   "column 4: found ]: " + pair,
		"foo[1,3":                "column 4: found [1,3: " + pair,
		"foo[[1,3]":              "column 4: found [[1,3]: " + pair,
		"foo[x-y]":               "column 5: found [x-y]: " + span,
		"foo[0-1,2--5]":          "column 9: found [2--5]: " + span,
		"bar,foo[1-]":            "column 9: found [1-]: " + span,
		"a[0-999999999]":         "column 3: found [0-999999999]: " + cap,
		"a[0-99999999999999999]": "column 3: found [0-99999999999999999]: " + span,
		"a[0-999][0-999]":        "column 1: found a[0-999][0-999]: " + cap,
		"a[0-65535],b[1-1]":      "column 12: found b[1-1]: " + cap,
	} {
		if got, err := Expand(expr); err == nil || err.Error() != "host expression, "+want {
			t.Errorf("%q: got %.9q, %v\nwant host expression, %s", expr, got, err, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"node[01-04,07]", "rack[0-1]n[00-03]", "a,b[1]", "[", "a[0-9][0-9][0-9][0-9]", "p[00-3]p", "x[1-2", "n[5-1]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		defer bounded.Memory(t)()
		names, err := Expand(expr)
		if err != nil {
			return
		}
		if len(names) == 0 || len(names) > MaxHosts || slices.Contains(names, "") {
			t.Fatalf("%q: %d names", expr, len(names))
		}
		for _, name := range names {
			if again, err := Expand(name); err != nil || len(again) != 1 || again[0] != name {
				t.Fatalf("%q gives %q, which is %q, %v", expr, name, again, err)
			}
		}
	})
}
