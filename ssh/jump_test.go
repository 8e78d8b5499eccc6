package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestProxyJump(t *testing.T) {
	target, one, two := startHost(t, ""), startHost(t, ""), startHost(t, "")
	for _, h := range []*host{target, one, two} {
		h.knows("", "ed25519")
	}
	hosts := one.section("one") + two.section("two")
	for name, config := range map[string]string{
		"one hop":          hosts + target.section("node3", "ProxyJump one"),
		"two hops":         hosts + target.section("node3", "ProxyJump one,two"),
		"hop of hop":       one.section("one") + two.section("two", "ProxyJump one") + target.section("node3", "ProxyJump two"),
		"explicit address": hosts + strings.ReplaceAll(one.section("127.0.0.1"), "HostName", "#") + target.section("node3", fmt.Sprintf("ProxyJump %s@127.0.0.1:%d", one.user, one.port)),
	} {
		t.Run(name, func(t *testing.T) {
			c := mustDial(t, "node3", Config{ConfigFile: target.write("ssh_config", config)})
			if got := output(t, c, "echo $SSH_CONNECTION"); !strings.Contains(got, fmt.Sprintf(" 127.0.0.1 %d\n", target.port)) {
				t.Errorf("connection is %s", got)
			}
			if c.LocalAddr() != nil || c.RemoteAddr() != nil {
				t.Errorf("addresses %v, %v", c.LocalAddr(), c.RemoteAddr())
			}
		})
	}
	two.write("known_hosts", "")
	for want, config := range map[string]string{
		"node3: connect: jump host two: host key: ":                                   hosts + target.section("node3", "ProxyJump one,two"),
		" -J one -o StrictHostKeyChecking=ask two true":                               hosts + target.section("node3", "ProxyJump one,two"),
		"reached through each other":                                                  one.section("one", "ProxyJump node3") + target.section("node3", "ProxyJump one"),
		"node3: connect: jump host one: no connection from there: Connection refused": one.section("one") + strings.Replace(target.section("node3", "ProxyJump one"), fmt.Sprint(target.port), "1", 1),
	} {
		c, err := Dial(t.Context(), "node3", Config{ConfigFile: target.write("ssh_config", config)})
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

// TestSharedJumpHosts reaches one host thirty times: each jump host on the way sees one login, and loses it with the last.
func TestSharedJumpHosts(t *testing.T) {
	target, one, two := startHost(t, ""), startHost(t, ""), startHost(t, "")
	for _, h := range []*host{target, one, two} {
		h.knows("", "ed25519")
	}
	config := target.write("ssh_config", one.section("one")+two.section("two", "ProxyJump one")+target.section("node*", "ProxyJump two"))
	shared := new(Shared)
	var clients [30]*Client
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			c, err := Dial(t.Context(), fmt.Sprintf("node%d", i), Config{ConfigFile: config, Timeout: time.Minute, Shared: shared})
			if err != nil {
				t.Error(err)
				return
			}
			clients[i] = c
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	for name, h := range map[string]*host{"one": one, "two": two} {
		if n := strings.Count(h.read("log"), "Accepted publickey"); n != 1 {
			t.Errorf("jump host %s saw %d logins", name, n)
		}
	}
	for i, c := range clients {
		if i%10 == 0 {
			if got := output(t, c, "echo hello"); got != "hello\n" {
				t.Errorf("node%d said %q", i, got)
			}
		}
		c.Close()
		c.Close() // counts once
	}
	if len(shared.jumps) != 0 {
		t.Errorf("connections to jump hosts are left: %v", shared.jumps)
	}
}

// TestJumpHostLost kills, or stops, the process that serves a jump host's connection: the hosts behind it say so, and
// another is reached over a new one.
func TestJumpHostLost(t *testing.T) {
	target, one := startHost(t, ""), startHost(t, "")
	target.knows("", "ed25519")
	one.knows("", "ed25519")
	config := target.write("ssh_config", one.section("one")+target.section("node*", "ProxyJump one"))
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		t.Run(signal.String(), func(t *testing.T) {
			cfg := Config{ConfigFile: config, Shared: new(Shared), KeepAlive: 50 * time.Millisecond}
			clients := []*Client{mustDial(t, "node1", cfg), mustDial(t, "node2", cfg)}
			server, err := strconv.Atoi(strings.TrimSpace(output(t, clients[0].via.client, "echo $PPID")))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(server, signal); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { syscall.Kill(server, syscall.SIGKILL) })
			for i, c := range clients {
				<-c.Done()
				if want := fmt.Sprintf("node%d: connection lost: ", i+1); !strings.HasPrefix(c.Err().Error(), want) || signal == syscall.SIGKILL && !strings.HasPrefix(c.Err().Error(), want+"jump host one: connection lost: ") {
					t.Errorf("got %v\nwant %s", c.Err(), want)
				}
			}
			if got := output(t, mustDial(t, "node3", cfg), "echo hello"); got != "hello\n" {
				t.Errorf("node3 said %q", got)
			}
		})
	}
}

// TestJumpHostHangs gives up one host behind a jump host that does not answer; the other goes on waiting until it does.
func TestJumpHostHangs(t *testing.T) {
	heard, answer := make(chan struct{}), make(chan struct{})
	fake := startFake(t, func(h *fakeHost, _ int, c net.Conn) {
		close(heard)
		<-answer
		h.serve(c)
	})
	shared := new(Shared)
	cfg := Config{ConfigFile: fake.config, Shared: shared, Timeout: time.Minute}
	dialJump := func(ctx context.Context, j *jump) (*Client, error) {
		return dial(ctx, route{host: "node3", is: j}, cfg)
	}
	impatient, cancel := context.WithCancel(t.Context())
	gaveUp, reached := make(chan error), make(chan *jump)
	go func() {
		_, err := shared.jump(impatient, nil, "node3", dialJump)
		gaveUp <- err
	}()
	<-heard
	go func() {
		j, err := shared.jump(t.Context(), nil, "node3", dialJump)
		if err != nil {
			t.Error(err)
		}
		reached <- j
	}()
	for waiting := false; !waiting; time.Sleep(time.Millisecond) {
		shared.mu.Lock()
		waiting = shared.jumps["node3"].users == 2
		shared.mu.Unlock()
	}
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(answer)
	if j := <-reached; j != nil {
		j.leave()
	}
}

// TestJumpHostsInACircle dials two hosts at once whose jump hosts need each other: neither waits for ever.
func TestJumpHostsInACircle(t *testing.T) {
	needTools(t, "ssh")
	config := filepath.Join(t.TempDir(), "ssh_config")
	if err := os.WriteFile(config, []byte("Host a\n ProxyJump b\nHost b\n ProxyJump c\nHost c\n ProxyJump a\nHost x\n ProxyJump a\nHost y\n ProxyJump b\nHost z\n ProxyJump c\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shared := new(Shared)
	var all sync.WaitGroup
	for _, name := range []string{"x", "y", "z", "a", "b", "c"} {
		all.Go(func() {
			_, err := Dial(t.Context(), name, Config{ConfigFile: config, Shared: shared})
			if err == nil || !strings.Contains(err.Error(), "are reached through each other") {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
}

func TestProxyCommand(t *testing.T) {
	h := startHost(t, "")
	h.knows("", "ed25519")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := mustDial(t, "node3", Config{ConfigFile: h.config("node3", "ProxyCommand "+self+" proxy %h:%p")})
	if got := output(t, c, "echo hello"); got != "hello\n" {
		t.Errorf("got %q", got)
	}
	if c.LocalAddr() != nil || c.RemoteAddr() != nil {
		t.Errorf("addresses %v, %v", c.LocalAddr(), c.RemoteAddr())
	}
	for command, want := range map[string]string{
		"sh -c 'echo no route >&2; exit 7'": "node3: banner: ProxyCommand sh -c 'echo no route >&2; exit 7': no route",
		"sh -c 'exit 7'":                    "node3: banner: ProxyCommand sh -c 'exit 7': exit status 7",
		"/nonexistent/nc %h":                "node3: banner: ProxyCommand /nonexistent/nc %h: ",
		"cat %Z":                            "node3: connect: ProxyCommand: token %Z is not supported",
	} {
		_, err := Dial(t.Context(), "node3", Config{ConfigFile: h.config("node3", "ProxyCommand "+command)})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}
