package ssh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	xssh "golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "ask-terminal" { // TestNoTerminal runs itself without one
		_, err := AskTerminal(context.Background(), os.Args[2])
		fmt.Println(err)
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "proxy" { // a ProxyCommand, as netcat would be
		os.Exit(proxy(os.Args[2]))
	}
	os.Unsetenv("SSH_AUTH_SOCK")
	home, err := os.MkdirTemp("", "pprun-ssh-home")
	if err != nil {
		panic(err)
	}
	os.Setenv("HOME", home) // nobody's ~/.ssh is read or written
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(home)
		os.Exit(code)
	}))
}

// proxy copies between a TCP connection and stdin and stdout.
func proxy(address string) int {
	c, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go io.Copy(c, os.Stdin)
	io.Copy(os.Stdout, c)
	return 0
}

// A host is an sshd of the current user on the loopback interface, with its files in one directory.
type host struct {
	t       testing.TB
	dir     string
	port    int
	user    string
	options string // further lines for sshd_config
	cmd     *exec.Cmd
}

// startHost starts an sshd that has host keys of the given types and lets in the key dir/id.
func startHost(t testing.TB, options string, keyTypes ...string) *host {
	t.Helper()
	needTools(t, "sshd", "ssh-keygen", "ssh")
	me, err := user.Current()
	if err != nil {
		t.Skipf("the current user has no account that sshd could log in: %v", err)
	}
	if passwd, _ := os.ReadFile("/etc/passwd"); noLogin(me.Username).Match(passwd) {
		t.Skipf("user %s has no login shell", me.Username)
	}
	if me.Uid == "0" {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // sshd's privilege separation
			t.Fatal(err)
		}
	}
	h := &host{t: t, dir: t.TempDir(), user: me.Username, options: options, port: freePort(t)}
	if keyTypes == nil {
		keyTypes = []string{"ed25519"}
	}
	h.keygen("id", "ed25519", "")
	for _, typ := range keyTypes {
		h.keygen("host_"+typ, typ, "")
		h.options += "HostKey " + h.path("host_"+typ) + "\n"
	}
	h.start()
	t.Cleanup(h.stop)
	return h
}

// noLogin matches the line of a user in passwd(5) who cannot log in.
func noLogin(user string) *regexp.Regexp {
	return regexp.MustCompile("(?m)^" + regexp.QuoteMeta(user) + ":.*/(nologin|false)$")
}

// needTools skips a test that needs programs this machine has not got. On CI they must be there.
func needTools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := tool(name); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
}

func tool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name) // not on every user's PATH
	}
	return path, err
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) write(name, text string) string {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return h.path(name)
}

func (h *host) read(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(h.path(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

func (h *host) keygen(name, typ, passphrase string) {
	h.t.Helper()
	os.Remove(h.path(name))
	h.run("ssh-keygen", "-q", "-a", "1", "-t", typ, "-N", passphrase, "-C", name, "-f", h.path(name))
}

func (h *host) run(name string, args ...string) string {
	h.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func (h *host) start() {
	h.t.Helper()
	h.write("sshd_config", fmt.Sprintf(`ListenAddress 127.0.0.1:%d
AuthorizedKeysFile %s
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel DEBUG1
%s`, h.port, h.path("id.pub"), h.options))
	sshd, err := tool("sshd")
	if err != nil {
		h.t.Fatal(err)
	}
	h.cmd = exec.Command(sshd, "-D", "-f", h.path("sshd_config"), "-E", h.path("log"))
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.listens()
}

// listens waits until sshd does.
func (h *host) listens() {
	h.t.Helper()
	for range 500 {
		c, err := net.Dial("tcp", h.address())
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.t.Fatalf("sshd does not listen:\n%s", h.read("log"))
}

func (h *host) stop() {
	h.cmd.Process.Kill()
	h.cmd.Wait()
}

func (h *host) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(h.port)) }

// knows writes known_hosts with the host's keys of the given types; marker may be "@revoked" and the like.
func (h *host) knows(marker string, types ...string) {
	h.t.Helper()
	var b strings.Builder
	for _, typ := range types {
		fields := strings.Fields(h.read("host_" + typ + ".pub"))
		fmt.Fprintf(&b, "%s [127.0.0.1]:%d %s %s\n", marker, h.port, fields[0], fields[1])
	}
	h.write("known_hosts", b.String())
}

// config writes an ssh_config in which the host is called name, with further lines, and returns its path.
func (h *host) config(name string, lines ...string) string {
	h.t.Helper()
	return h.write("ssh_config", h.section(name, lines...))
}

func (h *host) section(name string, lines ...string) string {
	return fmt.Sprintf("Host %s\n  %s\n  HostName 127.0.0.1\n  Port %d\n  User %s\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  GlobalKnownHostsFile /dev/null\n",
		name, strings.Join(lines, "\n  "), h.port, h.user, h.path("id"), h.path("known_hosts"))
}

// mustDial connects or fails the test, and closes the connection at its end.
func mustDial(t testing.TB, host string, cfg Config) *Client {
	t.Helper()
	c, err := Dial(t.Context(), host, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// output runs a command and returns what it wrote to stdout.
func output(t testing.TB, c *Client, command string) string {
	t.Helper()
	s, err := c.Start(t.Context(), command)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.CloseWrite()
	var out bytes.Buffer
	if _, err := out.ReadFrom(s); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, s.Stderr())
	}
	return out.String()
}

// newKey makes a key pair for a host or user of the tests.
func newKey(t testing.TB) (xssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := xssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := xssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}
