package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// A fakeHost is a listener on the loopback interface that treats its connections, counted from 1, as a
// test says.
type fakeHost struct {
	config string // path of an ssh_config in which it is called node3
	key    xssh.Signer
	tried  atomic.Int32
	server *xssh.ServerConfig // lets in the key of the configuration
}

func startFake(t *testing.T, serve func(h *fakeHost, n int, c net.Conn)) *fakeHost {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h := &fakeHost{config: filepath.Join(dir, "ssh_config")}
	h.key, _ = newKey(t)
	user, private := newKey(t)
	port := l.Addr().(*net.TCPAddr).Port
	for name, text := range map[string]string{
		"id":          string(private),
		"known_hosts": fmt.Sprintf("[127.0.0.1]:%d %s", port, xssh.MarshalAuthorizedKey(h.key.PublicKey())),
		"ssh_config": fmt.Sprintf("Host node3\n HostName 127.0.0.1\n Port %d\n User bob\n IdentityFile %s/id\n IdentitiesOnly yes\n UserKnownHostsFile %s/known_hosts\n GlobalKnownHostsFile /dev/null\n",
			port, dir, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.server = &xssh.ServerConfig{PublicKeyCallback: func(_ xssh.ConnMetadata, key xssh.PublicKey) (*xssh.Permissions, error) {
		if sameKey(key, user.PublicKey()) {
			return nil, nil
		}
		return nil, errors.New("not this one")
	}}
	h.server.AddHostKey(h.key)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(h.tried.Add(1))
			go func() {
				defer c.Close()
				serve(h, n, c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return h
}

// wait blocks until the other side has closed the connection.
func wait(c net.Conn) { io.Copy(io.Discard, c) }

// reset closes a connection as a host does that has no room for it.
func reset(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }

// serve is a host without faults, whose sessions accept every command and run none.
func (h *fakeHost) serve(c net.Conn) {
	s, channels, requests, err := xssh.NewServerConn(c, h.server)
	if err != nil {
		return
	}
	defer s.Close()
	go xssh.DiscardRequests(requests)
	for n := range channels {
		ch, requests, err := n.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				r.Reply(true, nil)
			}
			ch.Close()
		}()
	}
}

func TestFaults(t *testing.T) {
	for name, test := range map[string]struct {
		serve func(h *fakeHost, n int, c net.Conn)
		want  string // "": connects
	}{
		"no banner": {func(_ *fakeHost, _ int, c net.Conn) { wait(c) },
			"node3: banner: timed out after 1s: is it sshd that listens on port "},
		"not ssh": {func(_ *fakeHost, _ int, c net.Conn) { io.WriteString(c, "220 mail.example ESMTP\r\n"); wait(c) },
			"node3: banner: timed out after 1s: is it sshd that listens on port "},
		"babble": {func(_ *fakeHost, _ int, c net.Conn) { c.Write(make([]byte, 1<<20)); wait(c) },
			"node3: banner: overflow reading version string"},
		"silence after banner": {func(_ *fakeHost, _ int, c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n"); wait(c) },
			"node3: key exchange: timed out after 1s"},
		"always closed": {func(_ *fakeHost, _ int, c net.Conn) {},
			"node3: banner: the host closes the connection before authentication: "},
		"always reset": {func(_ *fakeHost, _ int, c net.Conn) { reset(c) },
			"node3: banner: the host closes the connection before authentication: "},
		"refused three times": {func(h *fakeHost, n int, c net.Conn) {
			switch {
			case n == 1:
				reset(c)
			case n == 2:
				io.WriteString(c, "Not allowed at this time\r\n")
			case n == 3:
				io.WriteString(c, "SSH-2.0-x\r\n")
			default:
				h.serve(c)
			}
		}, ""},
		"text before banner": {func(h *fakeHost, _ int, c net.Conn) { io.WriteString(c, "Welcome\r\nto SSH\r\n"); h.serve(c) }, ""},
		"key refused": {func(h *fakeHost, _ int, c net.Conn) {
			h.server.PublicKeyCallback = func(xssh.ConnMetadata, xssh.PublicKey) (*xssh.Permissions, error) { return nil, errors.New("no") }
			h.serve(c)
		}, "node3: authenticate: permission denied for user bob: refused key /"},
		"slow authentication": {func(h *fakeHost, _ int, c net.Conn) {
			h.server.PublicKeyCallback = func(xssh.ConnMetadata, xssh.PublicKey) (*xssh.Permissions, error) { wait(c); return nil, io.EOF }
			h.serve(c)
		}, "node3: authenticate: timed out after 1s"},
		"password only": {func(h *fakeHost, _ int, c net.Conn) {
			h.server.PublicKeyCallback = nil
			h.server.PasswordCallback = func(xssh.ConnMetadata, []byte) (*xssh.Permissions, error) { return nil, nil }
			h.serve(c)
		}, "node3: authenticate: permission denied for user bob: the host wants password: only keys can be used here; "},
		"wrong host key": {func(h *fakeHost, _ int, c net.Conn) {
			other, _ := newKey(t)
			h.server.AddHostKey(other)
			h.serve(c)
		}, "node3: host key: it has changed: "},
		"old algorithms": {func(h *fakeHost, _ int, c net.Conn) {
			h.server.Ciphers = []string{xssh.InsecureCipherAES128CBC}
			h.serve(c)
		}, "node3: key exchange: no common algorithm for "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startFake(t, test.serve)
			timeout := time.Second
			if test.want == "" {
				timeout = time.Minute
			}
			c, err := Dial(t.Context(), "node3", Config{ConfigFile: h.config, Timeout: timeout})
			if err == nil {
				c.Close()
			}
			if (err != nil || test.want != "") && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if h.tried.Load() < 2 && strings.HasPrefix(name, "always") {
				t.Error("was not tried again")
			}
		})
	}
}

func TestNothingListens(t *testing.T) {
	h := startFake(t, nil)
	port := freePort(t)
	for host, want := range map[string]string{
		"127.0.0.1":          fmt.Sprintf("127.0.0.1: connect: connection refused: is sshd running there on port %d?", port),
		"nosuchhost.invalid": "nosuchhost.invalid: resolve: ",
		"-oProxyCommand=x":   `-oProxyCommand=x: resolve: host name "-oProxyCommand=x": want letters, `,
		"a b":                `a b: resolve: host name "a b": want letters, `,
		"":                   ": resolve: empty host name",
	} {
		_, err := Dial(t.Context(), host, Config{ConfigFile: h.config, Port: port})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestDialCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := startFake(t, func(_ *fakeHost, _ int, c net.Conn) { cancel(); wait(c) })
	_, err := Dial(ctx, "node3", Config{ConfigFile: h.config})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestStartTimesOut(t *testing.T) {
	h := startFake(t, func(h *fakeHost, _ int, c net.Conn) {
		s, channels, requests, err := xssh.NewServerConn(c, h.server)
		if err != nil {
			return
		}
		defer s.Close()
		go xssh.DiscardRequests(requests)
		for range channels { // neither accepted nor refused
		}
	})
	c := mustDial(t, "node3", Config{ConfigFile: h.config, Timeout: 300 * time.Millisecond})
	_, err := c.Start(t.Context(), "true")
	if want := "node3: start: timed out after 300ms"; err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestDoors shows that no more than ten connections to one address are being made at a time, and that
// waiting for a door costs no deadline.
func TestDoors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Shared
		var inside, most atomic.Int32
		for range 64 {
			go func() {
				leave, err := s.enter(t.Context(), "node3")
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), inside.Add(1)))
				time.Sleep(time.Second)
				inside.Add(-1)
				leave()
			}()
		}
		time.Sleep(time.Minute)
		if most.Load() != perAddress || inside.Load() != 0 {
			t.Errorf("%d at a time, %d left", most.Load(), inside.Load())
		}
	})
}

// TestMaxStartups connects thirty times at once to an sshd that hears two.
func TestMaxStartups(t *testing.T) {
	h := startHost(t, "MaxStartups 2:100:2\n")
	h.knows("", "ed25519")
	config := h.config("node3")
	var all sync.WaitGroup
	shared := new(Shared)
	for range 30 {
		all.Go(func() {
			c, err := Dial(t.Context(), "node3", Config{ConfigFile: config, Timeout: time.Minute, Shared: shared})
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		})
	}
	all.Wait()
	if log := h.read("log"); !strings.Contains(log, "past MaxStartups") {
		t.Errorf("nothing was dropped:\n%s", log)
	}
}
