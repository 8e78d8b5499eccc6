package ssh

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	xssh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// startAgent serves an ssh-agent that holds the keys, and returns its socket.
func startAgent(t *testing.T, keys ...agent.AddedKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(k); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "agent") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				agent.ServeAgent(ring, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
		os.RemoveAll(dir)
	})
	return socket
}

func (h *host) private(name string) any {
	h.t.Helper()
	k, err := xssh.ParseRawPrivateKey([]byte(h.read(name)))
	if err != nil {
		h.t.Fatal(err)
	}
	return k
}

func TestAgent(t *testing.T) {
	h := startHost(t, "MaxAuthTries 2\n")
	h.knows("", "ed25519")
	var keys []agent.AddedKey
	for range 8 { // more than the host will hear
		h.keygen("stranger", "ed25519", "")
		keys = append(keys, agent.AddedKey{PrivateKey: h.private("stranger")})
	}
	keys = append(keys, agent.AddedKey{PrivateKey: h.private("id")})
	t.Setenv("SSH_AUTH_SOCK", startAgent(t, keys...))
	if err := os.Remove(h.path("id")); err != nil { // the public half is left, as it should be
		t.Fatal(err)
	}
	mustDial(t, "node3", Config{ConfigFile: h.config("node3")})
	all := h.write("all", strings.ReplaceAll(strings.ReplaceAll(h.section("node3"), "IdentitiesOnly yes", ""), "/id\n", "/nothing\n"))
	if c, err := Dial(t.Context(), "node3", Config{ConfigFile: all}); err == nil {
		c.Close()
		t.Error("the host heard all keys")
	} else if want := "the host heard only 2 of 9 keys: name the right one with IdentityFile"; !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	none := h.write("none", strings.ReplaceAll(h.section("node3", "IdentityAgent none"), "IdentitiesOnly yes", ""))
	if c, err := Dial(t.Context(), "node3", Config{ConfigFile: none}); err == nil {
		c.Close()
		t.Error("the agent was asked in spite of IdentityAgent none")
	} else if want := "no key to offer, no usable one in an ssh-agent, " + h.path("id") + ": load a key with ssh-add"; !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestKeyTypes(t *testing.T) {
	h := startHost(t, "")
	h.knows("", "ed25519")
	for _, typ := range []string{"rsa", "ecdsa"} {
		h.keygen("id", typ, "")
		mustDial(t, "node3", Config{ConfigFile: h.config("node3")})
		t.Setenv("SSH_AUTH_SOCK", startAgent(t, agent.AddedKey{PrivateKey: h.private("id")}))
		os.Remove(h.path("id"))
		mustDial(t, "node3", Config{ConfigFile: h.config("node3")})
		os.Unsetenv("SSH_AUTH_SOCK")
	}
}

// A private key that others may read is not used, as with ssh.
func TestOpenKey(t *testing.T) {
	h := startHost(t, "")
	h.knows("", "ed25519")
	if err := os.Chmod(h.path("id"), 0o640); err != nil {
		t.Fatal(err)
	}
	w := new(warnings)
	c, err := Dial(t.Context(), "node3", Config{ConfigFile: h.config("node3"), Warn: w.add})
	if err == nil {
		c.Close()
		t.Error("the key was used")
	}
	if want := "key " + h.path("id") + " is not used: others may use it (mode 0640): chmod 600 " + h.path("id"); !slices.Contains(w.list, want) {
		t.Errorf("warnings %q, want %q", w.list, want)
	}
	if err := os.Chmod(h.path("id"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustDial(t, "node3", Config{ConfigFile: h.config("node3")})
}

func TestUserCertificate(t *testing.T) {
	h := startHost(t, "")
	h.knows("", "ed25519")
	h.keygen("ca", "ed25519", "")
	h.stop()
	h.options += "TrustedUserCAKeys " + h.path("ca.pub") + "\nAuthorizedKeysFile none\n"
	h.start()
	h.run("sed", "-i", "/id.pub/d", h.path("sshd_config"))
	h.stop()
	sshd, _ := tool("sshd")
	h.cmd = exec.Command(sshd, "-D", "-f", h.path("sshd_config"), "-E", h.path("log"))
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.listens()
	h.run("ssh-keygen", "-q", "-s", h.path("ca"), "-I", "test", "-n", h.user, h.path("id.pub"))
	mustDial(t, "node3", Config{ConfigFile: h.config("node3")})
	if err := os.Rename(h.path("id-cert.pub"), h.path("elsewhere")); err != nil {
		t.Fatal(err)
	}
	mustDial(t, "node3", Config{ConfigFile: h.config("node3", "CertificateFile "+h.path("elsewhere"))})
	if c, err := Dial(t.Context(), "node3", Config{ConfigFile: h.config("node3")}); err == nil {
		c.Close()
		t.Error("connected without certificate")
	}
}

func TestEncryptedKey(t *testing.T) {
	h := startHost(t, "")
	h.knows("", "ed25519")
	h.keygen("id", "ed25519", "open sesame")
	config := h.config("node3")
	asked := func(answers ...string) (*atomic.Int32, func(context.Context, string) ([]byte, error)) {
		n := new(atomic.Int32)
		return n, func(_ context.Context, key string) ([]byte, error) {
			if key != h.path("id") {
				t.Errorf("asked for %s", key)
			}
			i := int(n.Add(1)) - 1
			if i >= len(answers) {
				return nil, errors.New("nobody answers")
			}
			return []byte(answers[i]), nil
		}
	}
	t.Run("asked once", func(t *testing.T) {
		n, ask := asked("wrong", "open sesame")
		shared := new(Shared)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				c, err := Dial(t.Context(), "node3", Config{ConfigFile: config, Passphrase: ask, Shared: shared})
				if err != nil {
					t.Error(err)
					return
				}
				c.Close()
			})
		}
		all.Wait()
		if n.Load() != 2 {
			t.Errorf("asked %d times", n.Load())
		}
	})
	for name, test := range map[string]struct {
		answers []string
		asked   int32
		want    string
	}{
		"wrong three times": {[]string{"a", "b", "c", "open sesame"}, 3, "node3: authenticate: key " + h.path("id") + ": wrong passphrase, three times: try again, or load it into an agent: ssh-add " + h.path("id")},
		"no answer":         {nil, 1, "node3: authenticate: key " + h.path("id") + ": it is encrypted: nobody answers"},
	} {
		t.Run(name, func(t *testing.T) {
			n, ask := asked(test.answers...)
			_, err := Dial(t.Context(), "node3", Config{ConfigFile: config, Passphrase: ask})
			if err == nil || err.Error() != test.want || n.Load() != test.asked {
				t.Errorf("asked %d times, got %v\nwant %s", n.Load(), err, test.want)
			}
		})
	}
	t.Run("in the agent", func(t *testing.T) {
		private, err := xssh.ParseRawPrivateKeyWithPassphrase([]byte(h.read("id")), []byte("open sesame"))
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("SSH_AUTH_SOCK", startAgent(t, agent.AddedKey{PrivateKey: private}))
		n, ask := asked()
		mustDial(t, "node3", Config{ConfigFile: config, Passphrase: ask})
		if n.Load() != 0 {
			t.Error("asked though the agent has the key")
		}
	})
	t.Run("not asked for a key the host refuses", func(t *testing.T) {
		h.keygen("other", "ed25519", "secret")
		h.write("two", strings.Replace(h.section("node3"), "IdentityFile", "IdentityFile "+h.path("other")+"\n  IdentityFile", 1))
		n, ask := asked("open sesame")
		mustDial(t, "node3", Config{ConfigFile: h.path("two"), Passphrase: ask})
		if n.Load() != 1 {
			t.Errorf("asked %d times", n.Load())
		}
	})
	t.Run("old format without public half", func(t *testing.T) {
		h.run("ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "open sesame", "-f", h.path("pem"))
		os.Rename(h.path("pem"), h.path("id"))
		os.Rename(h.path("pem.pub"), h.path("authorized"))
		h.run("cp", h.path("authorized"), h.path("id.pub")) // what sshd reads
		n, ask := asked("open sesame")
		mustDial(t, "node3", Config{ConfigFile: config, Passphrase: ask})
		if n.Load() != 1 {
			t.Errorf("asked %d times", n.Load())
		}
	})
}

// TestNoTerminal asks for a passphrase in a process that has no terminal.
func TestNoTerminal(t *testing.T) {
	cmd := exec.Command(os.Args[0], "ask-terminal", "/home/me/.ssh/id")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	want := "there is no terminal to ask for its passphrase on: load it into an agent first: ssh-add /home/me/.ssh/id\n"
	if err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}
