package main

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/launch/door"
)

// slowLogin begins to log in, and returns when the server waits for the client to say who it is. The client does so when
// goOn is called, which returns what comes of it.
func (r *running) slowLogin() (goOn func() error) {
	r.t.Helper()
	ring, err := door.Open(r.keys)
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var conn *tls.Conn
	ended := make(chan error, 1)
	go func() {
		var err error
		conn, err = door.Dial(r.t.Context(), l.Addr().String(), ring, false)
		ended <- err
	}()
	near, err := l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	l.Close() // it shall not try again
	far, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { near.Close(); far.Close() })
	go func() {
		io.Copy(near, far)
		near.Close()
	}()
	b := make([]byte, 64<<10)
	read := func() []byte {
		n, err := near.Read(b)
		if err != nil {
			r.t.Fatal(err)
		}
		return b[:n]
	}
	far.Write(read())
	certificate := read()
	return func() error {
		far.Write(certificate)
		go func() {
			io.Copy(far, near)
			far.Close()
		}()
		err := <-ended
		if err == nil {
			_, _, err = agent.NewConn(conn).Next() // the agent says nothing yet: this is how it is ended
			conn.Close()
		}
		return err
	}
}

// obeyed waits until the server has obeyed all signals that were sent.
func (r *running) obeyed() {
	r.t.Helper()
	r.signal(syscall.SIGUSR1)
	for line := ""; line != "Job execution statistics:\n"; {
		var err error
		if line, err = r.stdout.ReadString('\n'); err != nil {
			r.t.Fatal(err)
		}
	}
}

// A client that is on its way in when the server is told to end is not let in, or the server would wait for it.
func TestLoginAtTheEnd(t *testing.T) {
	for _, c := range []struct {
		name    string
		signals []syscall.Signal
	}{{"INT", []syscall.Signal{syscall.SIGINT}}, {"TERM", []syscall.Signal{syscall.SIGTERM}}, {"TERM twice", []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}}} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t)
			goOn := r.slowLogin()
			for _, s := range c.signals {
				r.signal(s)
				until(t, "the end of listening", func() bool {
					conn, err := net.Dial("tcp", r.address)
					if err == nil {
						conn.Close()
					}
					return err != nil
				})
			}
			if err := goOn(); err == nil {
				t.Error("the client is let in")
			}
			r.end()
		})
	}
}

// A client whose key is taken off the list while it is on its way in is not let in.
func TestLoginWhileRevoked(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	ring, err := door.Open(keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Generate(false); err != nil {
		t.Fatal(err)
	}
	r := startWith(t, keys)
	goOn := r.slowLogin()
	if err := os.WriteFile(filepath.Join(keys, "authorized_clients"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.signal(syscall.SIGHUP)
	r.obeyed()
	if err := goOn(); err == nil {
		t.Error("the client is let in")
	}
	r.signal(syscall.SIGINT)
	r.end()
}

// A server without keys goes on as before when it is told to read them again.
func TestHangupWithoutKeys(t *testing.T) {
	r := start(t)
	before := r.login()
	r.signal(syscall.SIGHUP)
	r.obeyed()
	for _, c := range []*agent.Conn{before, r.login()} {
		c.Send(frame.Header{Kind: agent.KindBye}, nil)
		r.await(c, agent.KindDone)
	}
	r.signal(syscall.SIGINT)
	r.end()
}
