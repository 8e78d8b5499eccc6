package launch

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/hostfile"
	xssh "golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// A deaf connection is read from until somebody says so.
type deaf struct {
	net.Conn
	now, over <-chan struct{}
}

func (d deaf) Read(b []byte) (int, error) {
	select {
	case <-d.now:
		<-d.over
		return 0, net.ErrClosed
	default:
		return d.Conn.Read(b)
	}
}

// deafHost is an sshd that lets everybody in, runs whatever it is asked to, and hears nothing from then on. The
// configuration calls it far.
func deafHost(t *testing.T) (config string) {
	t.Helper()
	small := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { // so that it is full before the window of a channel is
		return c.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 536)
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
		})
	}}
	l, err := small.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	t.Cleanup(func() { close(over); l.Close() })
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	signer, err := xssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	server := &xssh.ServerConfig{NoClientAuth: true}
	server.AddHostKey(signer)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		now := make(chan struct{})
		_, channels, requests, err := xssh.NewServerConn(deaf{c, now, over}, server)
		if err != nil {
			return
		}
		go xssh.DiscardRequests(requests)
		for ch := range channels {
			_, asked, err := ch.Accept()
			if err != nil {
				return
			}
			(<-asked).Reply(true, nil)
			close(now)
			<-over
		}
	}()
	dir := t.TempDir()
	user, err := xssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"id": string(pem.EncodeToMemory(user)),
		"config": fmt.Sprintf("Host far\n HostName 127.0.0.1\n Port %d\n IdentityFile %s/id\n IdentitiesOnly yes\n UserKnownHostsFile %[2]s/known\n GlobalKnownHostsFile /dev/null\n",
			l.Addr().(*net.TCPAddr).Port, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "config")
}

// The end of a connection does not wait behind what the host does not take.
func TestCloseWaitsForNobody(t *testing.T) {
	t.Parallel()
	s := &sshLauncher{AcceptNew: true, ConfigFile: deafHost(t)}
	client, err := s.dial(t.Context(), hostfile.Node{Host: "far"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	session, err := client.Start(t.Context(), enterShell)
	if err != nil {
		t.Fatal(err)
	}
	conn := &sshConn{r: session, session: session, client: client}
	var written atomic.Int64
	wrote := make(chan struct{})
	go func() {
		for {
			n, err := conn.Write(make([]byte, 16<<10))
			if written.Add(int64(n)); err != nil {
				close(wrote)
				return
			}
		}
	}()
	for before := int64(-1); before != written.Load(); { // until nothing is taken any more
		before = written.Load()
		time.Sleep(300 * time.Millisecond)
	}
	const window = 2 << 20 // of a channel: beyond it a writer waits without being in the way of anybody
	if n := written.Load(); n >= window-64<<10 {
		t.Fatalf("%d bytes were written: this test sees nothing", n)
	}
	closed := make(chan struct{})
	go func() { conn.Close(); <-wrote; close(closed) }()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("Close does not return, or who writes hears nothing of it")
	}
}
