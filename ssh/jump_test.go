package ssh

import (
	"fmt"
	"os"
	"strings"
	"testing"
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
		"node3: connect: jump host two: host key: ": hosts + target.section("node3", "ProxyJump one,two"),
		"more than 8 jump hosts in a row":           one.section("one", "ProxyJump node3") + target.section("node3", "ProxyJump one"),
		"node3: connect: jump host one: ":           one.section("one") + strings.Replace(target.section("node3", "ProxyJump one"), fmt.Sprint(target.port), "1", 1),
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
		"/nonexistent/nc %h":                "node3: banner: ProxyCommand /nonexistent/nc 127.0.0.1: ",
		"cat %Z":                            "node3: connect: ProxyCommand: token %Z is not supported",
	} {
		_, err := Dial(t.Context(), "node3", Config{ConfigFile: h.config("node3", "ProxyCommand "+command)})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}
