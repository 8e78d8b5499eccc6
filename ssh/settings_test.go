package ssh

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseSettings(t *testing.T) {
	got, err := parseSettings("n", "user bob\nhostname n.example\nport 2222\naddressfamily inet\nidentitiesonly yes\n"+
		"identityfile ~/.ssh/with blank\nidentityfile none\nidentityfile /k2\ncertificatefile /c\nidentityagent /run/agent\n"+
		"userknownhostsfile /a /b\nglobalknownhostsfile none\nhashknownhosts yes\nhostkeyalias alias\nstricthostkeychecking accept-new\n"+
		"proxyjump u@a:1,b\nproxycommand none\nconnecttimeout 7\nciphers a,b\nkexalgorithms c\nforwardagent yes\n")
	want := &settings{
		host: "n", user: "bob", hostName: "n.example", port: 2222, family: "inet", identitiesOnly: true,
		identityFiles: []string{"~/.ssh/with blank", "/k2"}, certificateFiles: []string{"/c"}, identityAgent: "/run/agent",
		userKnownHosts: []string{"/a", "/b"}, hashKnownHosts: true, hostKeyAlias: "alias", strict: "accept-new",
		proxyJump: "u@a:1,b", connectTimeout: 7 * time.Second, ciphers: []string{"a", "b"}, kex: []string{"c"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	for _, out := range []string{
		"", "user bob\nhostname n\n", "user bob\nhostname n\nport x\n", "user bob\nhostname n\nport 65536\n",
		"user bob\nhostname -oProxyCommand=x\nport 22\n", "user bob\nhostname $(x)\nport 22\n", "user -l\nhostname n\nport 22\n",
		"user a;b\nhostname n\nport 22\n",
	} {
		if s, err := parseSettings("n", out); err == nil {
			t.Errorf("%q: accepted as %+v", out, s)
		}
	}
}

func TestExpandTokens(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("KEYS", "/keys")
	s := &settings{host: "n", hostName: "n.example", user: "bob", port: 2222, proxyJump: "j"}
	for in, want := range map[string]string{
		"~/.ssh/id": home + "/.ssh/id", "%d/x": home + "/x", "${KEYS}/%r@%h:%p-%n-%k-%j-%%": "/keys/bob@n.example:2222-n-n-j-%", "plain": "plain",
	} {
		if got, err := s.path(in); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"%", "a%Zb"} {
		if got, err := s.path(in); err == nil {
			t.Errorf("%s: got %s", in, got)
		}
	}
}

// TestWithoutOpenSSH reads configuration files as on a machine that has no ssh command.
func TestWithoutOpenSSH(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := t.TempDir()
	load := func(r route, text string) (*settings, []string) {
		t.Helper()
		path := filepath.Join(dir, "config")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var w warnings
		s, err := loadSettings(t.Context(), r, Config{ConfigFile: path, Shared: new(Shared), Warn: w.add})
		if err != nil {
			t.Fatal(err)
		}
		return s, w.list
	}
	s, warned := load(route{host: "node3"}, "Host node*\n User bob\n HostName %h.example\n Port 2222\n IdentityFile \"/k 1\"\n IdentityFile /k2\n ProxyJump j\n UserKnownHostsFile ~/kh\n ConnectTimeout 3\nHost *\n User eve\n")
	if s.user != "bob" || s.hostName != "node3.example" || s.port != 2222 || strings.Join(s.identityFiles, ",") != "/k 1,/k2" || s.proxyJump != "j" ||
		strings.Join(s.userKnownHosts, ",") != os.Getenv("HOME")+"/kh" || s.connectTimeout != 3*time.Second || len(warned) != 0 {
		t.Errorf("got %+v, warnings %q", s, warned)
	}
	s, _ = load(route{host: "node3", user: "me", port: 22}, "Host node*\n User bob\n Port 2222\n")
	if s.user != "me" || s.port != 22 || s.hostName != "node3" || len(s.identityFiles) != 3 {
		t.Errorf("got %+v", s)
	}
	s, warned = load(route{host: "node3", user: "me"}, "Host *\n Port 2222\nMatch exec true\n Port 1\n")
	if s.port != 22 || len(warned) != 1 || !strings.Contains(warned[0], "is ignored, without an OpenSSH client it cannot be read") {
		t.Errorf("got %+v, warnings %q", s, warned)
	}
	s, warned = load(route{host: "node3", user: "me"}, "ConnectTimeout soon\n")
	if s.connectTimeout != 0 || len(warned) != 1 {
		t.Errorf("got %+v, warnings %q", s, warned)
	}
}

// TestWithoutOpenSSHClient connects without the ssh command.
func TestWithoutOpenSSHClient(t *testing.T) {
	h := startHost(t, "")
	h.knows("", "ed25519")
	t.Setenv("PATH", t.TempDir())
	c := mustDial(t, "node3", Config{ConfigFile: h.config("node3")})
	if got := output(t, c, "echo hello"); got != "hello\n" {
		t.Errorf("got %q", got)
	}
}

func TestBadConfiguration(t *testing.T) {
	needTools(t, "ssh")
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte("Host *\n Nonsense yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Dial(t.Context(), "node3", Config{ConfigFile: path})
	if err == nil || !strings.HasPrefix(err.Error(), "node3: resolve: ssh -G: ") || !strings.Contains(err.Error(), "line 2: Bad configuration option: nonsense") {
		t.Errorf("got %v", err)
	}
}
