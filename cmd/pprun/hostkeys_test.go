package main

import (
	"strings"
	"testing"
)

// hostKeys puts lines about node2 into known_hosts and runs a job there. A host whose key is not good is told nothing: its
// sshd sees no attempt to log in, and nothing is written there or here.
func hostKeys(t *testing.T, l lab) {
	sh := func(host, script string) string { l.t.Helper(); return l.Output(host, "sh", "-ec", script) }
	sh("node2", `cd /etc/ssh && rm -f rsa* other* ca*; for k in other ca; do ssh-keygen -q -t ed25519 -N '' -f $k; done; for k in rsa otherrsa; do ssh-keygen -q -t rsa -b 2048 -N '' -f $k; done
ssh-keygen -y -f ssh_host_ed25519_key >certified.pub
ssh-keygen -q -s ca -I lab -h -n node2,10.77.0.2 certified.pub; cp other.pub ca.pub rsa.pub otherrsa.pub /shared; cp certified.pub /shared/node2.pub`)
	key := func(name string) string { // its type and base64
		return strings.Join(strings.Fields(sh("head", "cat /shared/"+name+".pub"))[:2], " ") + "\n"
	}
	own, other, ca, rsa, otherRSA := key("node2"), key("other"), key("ca"), key("rsa"), key("otherrsa")
	const rsaToo, certified, otherPort = "HostKey /etc/ssh/rsa", "HostCertificate /etc/ssh/certified-cert.pub", "Port 2200"
	conf := "none yet"
	defer l.Host("node2").SSHD("conf")
	for _, c := range []struct {
		name, known string
		sshd        string // a line of sshd_config
		refused     string // why; empty: it is not
	}{
		{"plain line", "node2 " + own, "", ""},
		{"hashed line", "HASHED node2 " + own, "", ""},
		{"changed", "node2 " + other, "", `it has changed: the host has ssh-ed25519 SHA256:\S+, known is ssh-ed25519 SHA256:\S+ in /tmp/known:1`},
		{"changed, hashed line", "HASHED node2 " + other, "", `it has changed: .* in /tmp/known:1`},
		{"revoked", "node2 " + own + "@revoked * " + own, "", `is revoked in /tmp/known:2`},
		{"line with a port", "[node2]:2200 " + own, otherPort, ""},
		{"changed, line with a port", "[node2]:2200 " + other, otherPort, `it has changed: .* in /tmp/known:1`},
		{"RSA only", "node2 " + rsa, rsaToo, ""},
		{"changed, RSA only", "node2 " + otherRSA, rsaToo, `it has changed: the host has ssh-rsa `},
		{"authority", "@cert-authority node2 " + ca, certified, ""},
		{"authority revoked", "@cert-authority node2 " + ca + "@revoked * " + ca, certified, `is revoked in /tmp/known:2`},
		{"key revoked, authority not", "@cert-authority node2 " + ca + "@revoked * " + own, certified, `is revoked in /tmp/known:2`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l.in(t)
			if conf != c.sshd {
				conf = c.sshd
				l.Host("node2").SSHD("conf", "LogLevel DEBUG1", c.sshd)
			}
			config := "UserKnownHostsFile /tmp/known\nGlobalKnownHostsFile /dev/null\nHost node2\n"
			if c.sshd == otherPort {
				config += "Port 2200\n"
			}
			known, hash := strings.CutPrefix(c.known, "HASHED ")
			l.Output("head", "sh", "-ec", `printf %s "$1" >/tmp/known; printf %s "$2" >/tmp/config; $3; rm -f /tmp/known.old`, "sh",
				known, config, map[bool]string{true: "ssh-keygen -q -H -f /tmp/known", false: "true"}[hash])
			before := l.Output("head", "cat", "/tmp/known")
			l.Output("node2", "sh", "-c", ": >/var/log/sshd.log; rm -f /tmp/ran")
			r := l.finish(l.Exec("head", l.pprun, "-F", "/tmp/config", "--accept-new", "--host", "node2:1", "touch", "/tmp/ran"))
			attempts := l.Output("node2", "sh", "-c", "grep -c userauth /var/log/sshd.log || true")
			ran := l.Output("node2", "sh", "-c", "ls /tmp/ran 2>/dev/null || true") != ""
			if c.refused == "" {
				if r.want(t, 0, "^$"); !ran || attempts == "0" {
					t.Errorf("it ran: %v; sshd tells of %s attempts to log in: this test sees nothing", ran, attempts)
				}
				return
			}
			r.want(t, 125, "^pprun: node2: host key: .*"+c.refused)
			if ran || attempts != "0" {
				t.Errorf("it ran: %v; sshd tells of %s attempts to log in", ran, attempts)
			}
			if after := l.Output("head", "cat", "/tmp/known"); after != before {
				t.Errorf("known_hosts was\n%s\nand is\n%s", before, after)
			}
		})
	}
}
