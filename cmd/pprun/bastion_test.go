package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// TestBehindBastion reaches nodes whose names and network only a jump host knows.
func TestBehindBastion(t *testing.T) {
	up := labtest.Up(t, labtest.Config{Hosts: 3, Bastion: true})
	if up.Mode() != labtest.Root {
		t.Skip("needs two networks: root mode only")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := lab{up, t, up.Install("pprun", exe), ""}
	hello := l.build("hello")
	config := l.file("bastion.conf", "Host node*\n  ProxyJump bastion\n")
	netcat := l.file("netcat.conf", "Host node*\n  ProxyCommand ssh -o BatchMode=yes bastion nc %h %p\n")
	frozen := l.file("frozen.conf", "Host *\n  ConnectTimeout 3\nHost node*\n  ProxyJump bastion\n")
	var rows table
	defer rows.write(t)
	for _, c := range []struct {
		name   string
		sshd   []string
		args   []string
		status int
		stderr string
		logins int // to the bastion
	}{
		{"ProxyJump", nil, []string{"-F", config}, 0, `^$`, 1},
		{"ProxyJump, --ssh", nil, []string{"--ssh", "ssh -J bastion"}, 0, `^$`, 3},
		{"ProxyJump, MaxStartups 2:100:2", []string{"MaxStartups 2:100:2"}, []string{"-F", config}, 0, `^$`, 1},
		{"ProxyCommand nc, bastion with AllowTcpForwarding no", []string{"AllowTcpForwarding no"}, []string{"-F", netcat}, 0, `^$`, 3},
		{"ProxyCommand nc, bastion that knows no key of ours", []string{"AuthorizedKeysFile none"}, []string{"-F", netcat}, 125,
			`^pprun: node\[1-3\]: banner: ProxyCommand ssh -o BatchMode=yes bastion nc %h %p: root@bastion: Permission denied \(publickey\)\.\n$`, 0},
		{"ProxyJump, bastion with AllowTcpForwarding no", []string{"AllowTcpForwarding no"}, []string{"-F", config}, 125,
			`^pprun: node\[1-3\]: connect: jump host bastion: forwarding is not allowed there: see AllowTcpForwarding and PermitOpen of its sshd\n$`, 0},
		{"ProxyJump, frozen bastion", nil, []string{"-F", frozen}, 125,
			`^pprun: node\[1-3\]: connect: jump host bastion: banner: timed out after 3s: is it sshd that listens on port 22 there, and is the host overloaded\?\n$`, 0},
		{"ProxyJump, bastion without sshd", []string{"ListenAddress 127.0.0.1"}, []string{"-F", config}, 125,
			`^pprun: node\[1-3\]: connect: jump host bastion: connect: .*connection refused: is sshd running there on port 22\?\n$`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l.in(t)
			l.Host("bastion").SSHD("conf", c.sshd...)
			if c.name == "ProxyJump, frozen bastion" {
				l.Host("bastion").Freeze()
				defer l.Host("bastion").Thaw()
			}
			l.Output("bastion", "truncate", "-s", "0", "/var/log/sshd.log")
			args := append([]string{"--host", "node[1-3]:1"}, c.args...)
			began := time.Now()
			r := l.finish(l.Exec("head", l.pprun, append(args, hello)...))
			rows.add(c.name, r, time.Since(began))
			r.want(t, c.status, c.stderr)
			if c.status != 0 {
				return
			}
			if strings.Count(r.stdout, "of 3 on node") != 3 {
				t.Errorf("stdout:\n%s", r.stdout)
			}
			if n := strings.Count(l.Output("bastion", "cat", "/var/log/sshd.log"), "Accepted publickey"); n != c.logins {
				t.Errorf("%d logins to the bastion, want %d", n, c.logins)
			}
		})
	}
}
