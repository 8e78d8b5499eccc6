package ssh

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// allTypes is what sshd offers as it is installed. Clients that take what their own preferences pick from
// it, rather than what is known, call the host an impostor.
var allTypes = []string{"rsa", "ecdsa", "ed25519"}

func TestKnownHosts(t *testing.T) {
	h := startHost(t, "", allTypes...)
	h.keygen("old", "ed25519", "")
	line := func(pattern, file string) string {
		fields := strings.Fields(h.read(file + ".pub"))
		return pattern + " " + fields[0] + " " + fields[1] + "\n"
	}
	name := fmt.Sprintf("[127.0.0.1]:%d", h.port)
	ed := line(name, "host_ed25519")
	tests := map[string]string{
		"only ed25519":           ed,
		"only ecdsa":             line(name, "host_ecdsa"),
		"only rsa":               line(name, "host_rsa"),
		"wildcard without port":  line("127.0.0.*", "host_ed25519"),
		"rotated":                line(name, "old") + ed,
		"another's revoked":      ed + "@revoked " + line("*", "old"),
		"no final newline":       strings.TrimSuffix(ed, "\n"),
		"broken lines":           "garbage\n" + ed + name + " ssh-ed25519 AAAA!\n",
		"list and negation":      line("!10.0.0.1,"+name, "host_ed25519"),
		"hashed":                 "",
		"changed type elsewhere": ed + line("otherhost", "old"),
	}
	for test, text := range tests {
		t.Run(test, func(t *testing.T) {
			h.write("known_hosts", text)
			if test == "hashed" {
				h.write("known_hosts", ed)
				h.run("ssh-keygen", "-q", "-H", "-f", h.path("known_hosts"))
				if strings.Contains(h.read("known_hosts"), "127.0.0.1") {
					t.Fatal("not hashed")
				}
			}
			w := new(warnings)
			mustDial(t, "node3", Config{ConfigFile: h.config("node3"), Warn: w.add})
			want := 0
			if test == "broken lines" {
				want = 2
			}
			if len(w.list) != want {
				t.Errorf("warnings: %q", w.list)
			}
		})
	}
}

// warnings collects what Config.Warn is told.
type warnings struct {
	mu   sync.Mutex
	list []string
}

func (w *warnings) add(message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, message)
}

func TestHostKeyRefused(t *testing.T) {
	h := startHost(t, "", allTypes...)
	h.keygen("other", "ed25519", "")
	h.keygen("otherrsa", "rsa", "")
	name := fmt.Sprintf("[127.0.0.1]:%d", h.port)
	host, other, otherRSA := h.read("host_ed25519.pub"), h.read("other.pub"), h.read("otherrsa.pub")
	h.config("node3")
	for test, c := range map[string]struct {
		knownHosts string
		acceptNew  bool
		want       string
	}{
		"unknown":             {"", false, "is not known: compare it with the host's own and accept it: ssh -F " + h.path("ssh_config") + " -o StrictHostKeyChecking=ask node3 true"},
		"changed":             {name + " " + other, true, "it has changed: the host has ssh-ed25519 SHA256:"},
		"changed, other type": {name + " " + otherRSA, true, "it has changed: the host has ssh-rsa SHA256:"},
		"revoked":             {name + " " + host + "@revoked * " + host, true, "is revoked in " + h.path("known_hosts") + ":2"},
		"authority's, plain":  {"@cert-authority * " + other, false, "is not known"},
	} {
		t.Run(test, func(t *testing.T) {
			h.write("known_hosts", c.knownHosts)
			h.write("log", "")
			client, err := Dial(t.Context(), "node3", Config{ConfigFile: h.path("ssh_config"), AcceptNew: c.acceptNew})
			if err == nil {
				client.Close()
				t.Fatal("connected")
			}
			var e *Error
			if !errors.As(err, &e) || e.Phase != phaseHostKey || !strings.HasPrefix(err.Error(), "node3: host key: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
			if got := h.read("known_hosts"); got != c.knownHosts {
				t.Errorf("known_hosts was written:\n%s", got)
			}
			if log := h.read("log"); strings.Contains(log, "userauth") {
				t.Errorf("authentication was begun:\n%s", log)
			}
		})
	}
}

func TestAcceptNew(t *testing.T) {
	h := startHost(t, "", allTypes...)
	h.write("known_hosts", "# no final newline")
	config := h.config("node3", "HashKnownHosts no")
	shared := new(Shared)
	w := new(warnings)
	var all sync.WaitGroup
	for range 8 { // at once: the key is added once
		all.Go(func() {
			c, err := Dial(t.Context(), "node3", Config{ConfigFile: config, AcceptNew: true, Shared: shared, Warn: w.add})
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		})
	}
	all.Wait()
	key := strings.Fields(h.read("host_ed25519.pub"))
	want := fmt.Sprintf("# no final newline\n[127.0.0.1]:%d %s %s\n", h.port, key[0], key[1])
	if got := h.read("known_hosts"); got != want {
		t.Errorf("known_hosts is\n%swant\n%s", got, want)
	}
	if len(w.list) != 1 || !strings.HasPrefix(w.list[0], "node3: new host key ssh-ed25519 SHA256:") {
		t.Errorf("warnings: %q", w.list)
	}
	h.run("ssh", "-F", config, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "node3", "true") // OpenSSH can read it
	mustDial(t, "node3", Config{ConfigFile: config})
}

func TestAcceptNewByConfiguration(t *testing.T) {
	h := startHost(t, "")
	for _, value := range []string{"accept-new", "no"} {
		os.RemoveAll(h.path("known_hosts"))
		mustDial(t, "node3", Config{ConfigFile: h.config("node3", "StrictHostKeyChecking "+value, "HashKnownHosts yes")})
		if got := h.read("known_hosts"); !strings.HasPrefix(got, "|1|") {
			t.Errorf("%s: known_hosts is %q", value, got)
		}
		mustDial(t, "node3", Config{ConfigFile: h.config("node3", "StrictHostKeyChecking yes")})
	}
	mustDial(t, "node3", Config{ConfigFile: h.write("throwaway", strings.ReplaceAll(h.section("node3", "StrictHostKeyChecking no"), h.path("known_hosts"), "/dev/null"))})
}

func TestHostCertificate(t *testing.T) {
	h := startHost(t, "", "ed25519", "rsa")
	h.keygen("ca", "ecdsa", "")
	h.run("ssh-keygen", "-q", "-s", h.path("ca"), "-I", "test", "-h", "-n", "127.0.0.1", h.path("host_ed25519.pub"))
	h.stop()
	h.options += "HostCertificate " + h.path("host_ed25519-cert.pub") + "\n"
	h.start()
	config := h.config("node3")
	ca, key := h.read("ca.pub"), h.read("host_ed25519.pub")
	name := fmt.Sprintf("[127.0.0.1]:%d", h.port)
	h.write("known_hosts", "@cert-authority * "+ca)
	mustDial(t, "node3", Config{ConfigFile: config})
	h.write("known_hosts", name+" "+key)
	mustDial(t, "node3", Config{ConfigFile: config})
	h.keygen("otherca", "ed25519", "")
	h.write("known_hosts", "@cert-authority * "+h.read("otherca.pub")+name+" "+key) // certificate of nobody we know, key that we know
	mustDial(t, "node3", Config{ConfigFile: config})
	for test, text := range map[string]string{
		"revoked":   "@cert-authority * " + ca + "@revoked * " + ca,
		"not known": "@cert-authority *.example " + ca,
	} {
		h.write("known_hosts", text)
		if c, err := Dial(t.Context(), "node3", Config{ConfigFile: config}); err == nil {
			c.Close()
			t.Errorf("%s: connected", test)
		} else if !strings.Contains(err.Error(), test) {
			t.Errorf("got %v, want %s", err, test)
		}
	}
}

func TestHostKeyAlias(t *testing.T) {
	h := startHost(t, "")
	h.write("known_hosts", "cluster "+h.read("host_ed25519.pub"))
	mustDial(t, "node3", Config{ConfigFile: h.config("node3", "HostKeyAlias cluster")})
}
