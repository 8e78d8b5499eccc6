package hostfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pprun/pprun/scripts/bounded"
)

func TestParse(t *testing.T) {
	many := strings.Repeat("node1\nnode2\n", 500_000)
	for name, test := range map[string]struct {
		in   string
		want []Node
	}{
		"bare":               {"node1\n", []Node{{Host: "node1", Pos: "f:1"}}},
		"host:N":             {"node1:4", []Node{{Host: "node1", Slots: 4, Pos: "f:1"}}},
		"slots=":             {"node1 slots=4 max_slots=8", []Node{{Host: "node1", Slots: 4, Pos: "f:1"}}},
		"synonyms":           {"a cpu=2\nb count=3\nc max-slots=4\nd slots_max=5", []Node{{Host: "a", Slots: 2, Pos: "f:1"}, {Host: "b", Slots: 3, Pos: "f:2"}, {Host: "c", Pos: "f:3"}, {Host: "d", Pos: "f:4"}}},
		"user and port":      {"bob@n port=2222\nn user=eve", []Node{{Host: "n", User: "bob", Port: 2222, Pos: "f:1"}, {Host: "n", User: "eve", Pos: "f:2"}}},
		"url":                {"ssh://bob@n:2222 slots=2", []Node{{Host: "n", User: "bob", Port: 2222, Slots: 2, Pos: "f:1"}}},
		"url, slash":         {"ssh://n:22/\nssh://m/", []Node{{Host: "n", Port: 22, Pos: "f:1"}, {Host: "m", Pos: "f:2"}}},
		"host N":             {"a 4\nb 2", []Node{{Host: "a", Slots: 4, Pos: "f:1"}, {Host: "b", Slots: 2, Pos: "f:2"}}},
		"url IPv6":           {"ssh://[::1]:2222", []Node{{Host: "::1", Port: 2222, Pos: "f:1"}}},
		"IPv6":               {"::1\n[::2]\n[::3]:4\nfe80::1%eth0", []Node{{Host: "::1", Pos: "f:1"}, {Host: "::2", Pos: "f:2"}, {Host: "::3", Slots: 4, Pos: "f:3"}, {Host: "fe80::1%eth0", Pos: "f:4"}}},
		"comments, blanks":   {"# x\n\n \t\nnode1 # y\n#", []Node{{Host: "node1", Pos: "f:4"}}},
		"CRLF, BOM":          {"\ufeffnode1\r\nnode2:2\r\n", []Node{{Host: "node1", Pos: "f:1"}, {Host: "node2", Slots: 2, Pos: "f:2"}}},
		"domains stay":       {"n1.invalid\nN1", []Node{{Host: "n1.invalid", Pos: "f:1"}, {Host: "N1", Pos: "f:2"}}},
		"range:N":            {"node[08-10]:2", []Node{{Host: "node08", Slots: 2, Pos: "f:1"}, {Host: "node09", Slots: 2, Pos: "f:1"}, {Host: "node10", Slots: 2, Pos: "f:1"}}},
		"range slots=":       {"bob@n[1-2],m slots=3", []Node{{Host: "n1", Slots: 3, User: "bob", Pos: "f:1"}, {Host: "n2", Slots: 3, User: "bob", Pos: "f:1"}, {Host: "m", Slots: 3, Pos: "f:1"}}},
		"slots add up":       {"a slots=2\nb:1\na:3", []Node{{Host: "a", Slots: 5, Pos: "f:1"}, {Host: "b", Slots: 1, Pos: "f:2"}}},
		"PBS: bare counts":   {"a\na\nb\na\n", []Node{{Host: "a", Slots: 3, Pos: "f:1"}, {Host: "b", Slots: 1, Pos: "f:3"}}},
		"bare beside slots":  {"a slots=4\na\nb\n", []Node{{Host: "a", Slots: 5, Pos: "f:1"}, {Host: "b", Pos: "f:3"}}},
		"other port, node":   {"h port=1\nh port=2\n", []Node{{Host: "h", Port: 1, Pos: "f:1"}, {Host: "h", Port: 2, Pos: "f:2"}}},
		"C comments":         {"// x\na /* b\nc\n*/ // d\nssh://e/*\n*/\n", []Node{{Host: "a", Pos: "f:2"}, {Host: "e", Pos: "f:5"}}},
		"blanks around =":    {"a slots = 4 port =22\nb user= bob", []Node{{Host: "a", Slots: 4, Port: 22, Pos: "f:1"}, {Host: "b", User: "bob", Pos: "f:2"}}},
		"quotes":             {`"a" slots="4" username="bob"`, []Node{{Host: "a", Slots: 4, User: "bob", Pos: "f:1"}}},
		"exclude":            {"^n[2-3]\nn[1-4]\nbob@n2\n^m", []Node{{Host: "n1", Pos: "f:2"}, {Host: "n4", Pos: "f:2"}}},
		"Grid Engine":        {"n1.tb 4 all.q@n1.tb UNDEFINED\nn2 2 q 0,0:0,1\nn1.tb 1 b.q <NULL>\n", []Node{{Host: "n1.tb", Slots: 5, Pos: "f:1"}, {Host: "n2", Slots: 2, Pos: "f:2"}}},
		"charmrun":           {"group main\nhost a\nhost b ++cpus 4\ngroup other ++cpus 2\nhost c\nhost d ++cpus 3", []Node{{Host: "a", Pos: "f:2"}, {Host: "b", Slots: 4, Pos: "f:3"}, {Host: "c", Slots: 2, Pos: "f:5"}, {Host: "d", Slots: 3, Pos: "f:6"}}},
		"hosts named host":   {"host\nhost slots=2\ngroup:2", []Node{{Host: "host", Slots: 3, Pos: "f:1"}, {Host: "group", Slots: 2, Pos: "f:3"}}},
		"ports are no slots": {"a:22\na port=22", []Node{{Host: "a", Slots: 22, Pos: "f:1"}, {Host: "a", Port: 22, Pos: "f:2"}}},
		"a million mentions": {many, []Node{{Host: "node1", Slots: 500_000, Pos: "f:1"}, {Host: "node2", Slots: 500_000, Pos: "f:2"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse("f", strings.NewReader(test.in))
			if want := (&Hosts{Source: "f", Nodes: test.want}); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "f: found no hosts: want at least one, like node1 or node1:4",
		"# only a comment":                 "f: found no hosts: want at least one, like node1 or node1:4",
		"a\nb slots=abc":                   "f:2:3: found slots=abc: want a number from 1 to 65536",
		"a slots=0":                        "f:1:3: found slots=0: want a number from 1 to 65536",
		"a slots=-1":                       "f:1:3: found slots=-1: want a number from 1 to 65536",
		"a slots=65537":                    "f:1:3: found slots=65537: want a number from 1 to 65536",
		"a slots=1000000000000000000":      "f:1:3: found slots=1000000000000000000: want a number from 1 to 65536",
		"a port=0":                         "f:1:3: found port=0: want a port from 1 to 65535",
		"a port=65536":                     "f:1:3: found port=65536: want a port from 1 to 65535",
		"a /* b\nc":                        "f:1:3: found /*: want */ at the end of the comment",
		"^a\na":                            "f: found every host excluded: want at least one without ^",
		"^":                                "f:1:1: found ^: want " + wantHost,
		"a 0 q UNDEFINED":                  "f:1:3: found 0: want a number from 1 to 65536",
		"host a ++cpus":                    "f:1:8: found ++cpus: want a number from 1 to 65536",
		"host a ++cpus x\ngroup b ++x y":   "f:1:8: found ++cpus x: want a number from 1 to 65536\nf:2:9: found ++x y: want one of the keys slots, max_slots, port, user",
		"a slots=":                         "f:1:3: found slots=: want a number from 1 to 65536",
		"a slot=4":                         "f:1:3: found slot=4: want one of the keys slots, max_slots, port, user (did you mean slots=?)",
		"a:2 slots=2":                      "f:1:1: found a:2: want one number of slots for a host in a line",
		"a slots=2 cpu=2":                  "f:1:11: found cpu=2: want one number of slots for a host in a line",
		"host a ++cpus 2 ++cpus 3":         "f:1:17: found ++cpus 3: want one number of slots for a host in a line",
		"ssh://a:22 port=22":               "f:1:1: found ssh://a:22: want one port for a host in a line",
		"a port=22 port=23":                "f:1:11: found port=23: want one port for a host in a line",
		"bob@a user=eve":                   "f:1:1: found bob@a: want one user for a host in a line",
		"a user=bob username=eve":          "f:1:12: found username=eve: want one user for a host in a line",
		"a 0":                              "f:1:3: found 0: want a number from 1 to 65536",
		"ssh://a:x/":                       "f:1:9: found ssh://a:x/: want a port from 1 to 65535 after the colon",
		"ssh://n[1-/":                      "f:1:8: found [1-: want a range in one pair of brackets, like [1-4,7]",
		"a b":                              "f:1:3: found b: want key=value after the host, with one of the keys slots, max_slots, port, user",
		"a:":                               "f:1:3: found a:: want a number from 1 to 65536 after the colon",
		"a:x":                              "f:1:3: found a:x: want a number from 1 to 65536 after the colon",
		"n[1-2]:0":                         "f:1:8: found n[1-2]:0: want a number from 1 to 65536 after the colon",
		"ssh://a:0":                        "f:1:9: found ssh://a:0: want a port from 1 to 65535 after the colon",
		"a:1:2":                            "f:1:1: found a:1:2: want host:slots with one colon, or an IPv6 address",
		"-oProxyCommand=x":                 "f:1:1: found -oProxyCommand=x: want " + wantHost,
		"a;b":                              "f:1:1: found a;b: want " + wantHost,
		"$(touch x)":                       "f:1:9: found x): want key=value after the host, with one of the keys slots, max_slots, port, user",
		"../../x":                          "f:1:1: found ../../x: want " + wantHost,
		"a\x00b":                           `f:1:1: found "a\x00b": want ` + wantHost,
		"\x1b]52;c;x\a":                    `f:1:2: found "]52;c;x\a": want a range in one pair of brackets, like [1-4,7]`,
		"u@@h":                             "f:1:1: found u@@h: want " + wantUser + ", then @ and the host",
		"@h":                               "f:1:1: found @h: want " + wantUser + ", then @ and the host",
		"-l@h":                             "f:1:1: found -l@h: want " + wantUser + ", then @ and the host",
		"a user=-l":                        "f:1:3: found user=-l: want " + wantUser,
		"  n[1-":                           "f:1:4: found [1-: want a range in one pair of brackets, like [1-4,7]",
		"bob@n[1-2]m[5-3]":                 "f:1:13: found [5-3]: want numbers or ranges from low to high, like [01-04,7]",
		"n[0-999999999]":                   "f:1:3: found [0-999999999]: want at most 65536 hosts in all",
		"n[0-65535]\nm\nm\n":               "f:2:1: found m: want at most 65536 hosts in all",
		"\xff\xfea\x00":                    "f:1:1: found UTF-16 text: want UTF-8",
		"a\n" + strings.Repeat("x", 2<<20): "f:2:1: found a line of more than 1 MiB: want one host per line",
		strings.Repeat("x", 1000):          "f:1:1: found " + strings.Repeat("x", 60) + "...: want " + wantHost,
	} {
		nodes, err := Parse("f", strings.NewReader(in))
		if err == nil || err.Error() != want {
			t.Errorf("%.40q: got %v, %v\nwant %s", in, nodes, err, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	for in, want := range map[string]string{
		"a slots=2\nb\na slots=3":                 "f:3:1: a was given slots at f:1 already: together these are 5",
		"a\na\nb:2\nb:3\nc 2 q r\nc 3 q r":        "",
		"a:2 binding=user:0,1":                    "f:1:5: binding=user:0,1 is not used",
		"group main ++shell ssh ++cpus 2\nhost a": "f:1:12: ++shell ssh is not used",
	} {
		hosts, err := Parse("f", strings.NewReader(in))
		if err != nil || strings.Join(hosts.Warnings, "\n") != want {
			t.Errorf("%q: got %+v, %v\nwant %s", in, hosts, err, want)
		}
	}
}

func TestParseReportsTenErrors(t *testing.T) {
	_, err := Parse("f", strings.NewReader("good\n"+strings.Repeat("a;b\n", 30)))
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != maxErrors {
		t.Fatalf("%d errors, want %d:\n%v", len(lines), maxErrors, err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Line != 2 || e.Column != 1 || e.File != "f" || e.Found != "a;b" {
		t.Errorf("first error is %+v", e)
	}
}

func TestParseFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hosts")
	if err := os.WriteFile(path, []byte("a\nb:2"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ParseFile(path)
	if want := []Node{{Host: "a", Pos: path + ":1"}, {Host: "b", Slots: 2, Pos: path + ":2"}}; err != nil || !slices.Equal(got.Nodes, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for path, want := range map[string]string{
		dir:                        "hosts file " + dir + " is a directory: want a file with one host per line",
		filepath.Join(dir, "nope"): "hosts file " + filepath.Join(dir, "nope") + " does not exist",
	} {
		if _, err := ParseFile(path); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestParseList(t *testing.T) {
	got, err := ParseList(" a:4,bob@b, node[01-02]:2 ,[::1]:3 ")
	want := []Node{{Host: "a", Slots: 4}, {Host: "b", User: "bob"}, {Host: "node01", Slots: 2}, {Host: "node02", Slots: 2}, {Host: "::1", Slots: 3}}
	for i := range want {
		want[i].Pos = "host list"
	}
	if err != nil || !slices.Equal(got.Nodes, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for in, want := range map[string]string{
		"":         "host list: found no hosts: want at least one, like node1 or node1:4",
		"a,,b":     `host list, column 3: found "": want ` + wantHost,
		"a,b:x":    "host list, column 5: found b:x: want a number from 1 to 65536 after the colon",
		"a:1,b c":  "host list, column 5: found b c: want a comma between hosts",
		"a,n[1,-]": "host list, column 7: found [-]: want numbers or ranges from low to high, like [01-04,7]",
	} {
		if _, err := ParseList(in); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", in, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"node1\n", "a:4\r\nb slots=2 # c\n", "bob@n[01-04,7]x port=22\n", "[::1]:4\n::1\n", "\ufeffssh://u@h:22", "a slots=\n@\n[", "a /* \n */ slots = 2 // x\n^a\nb", "a 4 q UNDEFINED\n", "group g ++cpus 2\nhost a ++shell ssh\n", "a[0-9][0-9][0-9]\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		defer bounded.Memory(t)()
		hosts, err := Parse("f", bytes.NewReader(data))
		if err != nil {
			if hosts != nil || len(strings.Split(err.Error(), "\n")) > maxErrors || strings.ContainsAny(err.Error(), "\x00\x1b\r") {
				t.Errorf("%v with error %q", hosts, err)
			}
			return
		}
		for _, n := range hosts.Nodes {
			if !validHost(n.Host) || n.User != "" && !validUser(n.User) || n.Slots < 0 || n.Port < 0 || n.Port > 65535 || n.Pos == "" {
				t.Errorf("node %+v", n)
			}
		}
		if len(hosts.Nodes) == 0 || len(hosts.Nodes) > MaxHosts || len(hosts.Warnings) > maxErrors || strings.ContainsAny(strings.Join(hosts.Warnings, ""), "\x00\x1b\r\n") {
			t.Errorf("%d nodes, warnings %q", len(hosts.Nodes), hosts.Warnings)
		}
	})
}
