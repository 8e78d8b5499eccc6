package door

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm/frame"
	"github.com/pprun/pprun/scripts/bounded"
)

// ringOf makes a keyring with keys, and a secret if that is wanted.
func ringOf(t *testing.T, withSecret bool) *Keyring {
	t.Helper()
	ring := open(t, filepath.Join(t.TempDir(), "keys"))
	if _, err := ring.Generate(withSecret); err != nil {
		t.Fatal(err)
	}
	return open(t, ring.Dir)
}

func open(t *testing.T, dir string) *Keyring {
	t.Helper()
	ring, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// house is a server that returns what its clients send.
type house struct {
	*Server
	address string
	mu      sync.Mutex
	refused []error
}

func serve(t *testing.T, ring *Keyring) *house {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{Server: NewServer(ring), address: l.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				secure, _, err := h.Login(conn, func(Client) error { return nil })
				if err != nil {
					h.mu.Lock()
					h.refused = append(h.refused, err)
					h.mu.Unlock()
					return
				}
				defer secure.Close()
				io.Copy(secure, secure)
			})
		}
	})
	return h
}

// echo checks that a connection leads to a house.
func echo(t *testing.T, conn *tls.Conn) {
	t.Helper()
	defer conn.Close()
	b := make([]byte, 5)
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestLogin(t *testing.T) {
	ring, shared := ringOf(t, false), ringOf(t, true)
	for _, c := range []struct {
		name   string
		server *Keyring
		client func(t *testing.T) *Keyring
		accept bool
		want   string // in the error; empty: it gets in
	}{
		{"own key", ring, func(*testing.T) *Keyring { return ring }, false, ""},
		{"wrong key", ring, func(t *testing.T) *Keyring {
			other := ringOf(t, false)
			other.servers = ring.servers
			return other
		}, false, "refuses this client: its key SHA256:"},
		{"no key", ring, func(t *testing.T) *Keyring {
			none := open(t, t.TempDir())
			none.servers = ring.servers
			return none
		}, false, "refuses this client: it has no key and no secret: ppserver keygen"},
		{"authorized key of another user", ring, func(t *testing.T) *Keyring {
			other := ringOf(t, false)
			if err := ring.Authorize(other.client.Public(), "other"); err != nil {
				t.Fatal(err)
			}
			other.servers = ring.servers
			return other
		}, false, ""},
		{"server not known", ring, func(t *testing.T) *Keyring {
			r := open(t, ring.Dir)
			r.servers = nil
			return r
		}, false, "add this line to "},
		{"server of another key", ring, func(t *testing.T) *Keyring {
			r := open(t, ring.Dir)
			r.servers = ringOf(t, false).servers
			return r
		}, true, "somebody else may have answered"},
		{"secret alone", shared, func(t *testing.T) *Keyring {
			r := open(t, t.TempDir())
			r.secrets = shared.secrets
			return r
		}, false, ""},
		{"wrong secret", shared, func(t *testing.T) *Keyring {
			r := open(t, t.TempDir())
			r.secrets = ringOf(t, true).secrets
			return r
		}, false, "its secret is not one of this ppserver"},
		{"expired secret", shared, func(t *testing.T) *Keyring {
			r := open(t, t.TempDir())
			r.secrets = []secret{{shared.secrets[0].bytes, time.Now().Add(-time.Hour)}}
			return r
		}, false, "it has no key and no secret"},
		{"second of two secrets", shared, func(t *testing.T) *Keyring {
			r := open(t, t.TempDir())
			r.secrets = append(ringOf(t, true).secrets, shared.secrets...)
			return r
		}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := serve(t, c.server)
			conn, err := Dial(t.Context(), h.address, c.client(t), c.accept)
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "":
				echo(t, conn)
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// What a client that is turned down is told can be pasted where the server runs.
func TestRefusalSaysWhatToRun(t *testing.T) {
	ring, other := ringOf(t, false), ringOf(t, false)
	other.servers = ring.servers
	_, err := Dial(t.Context(), serve(t, ring).address, other, false)
	if want := "to let it in, run there: ppserver authorize '" + FormatPublic(other.client.Public()) + "'"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// Where nobody listens a client is told what to look for.
func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_, err = Dial(t.Context(), l.Addr().String(), ringOf(t, false), false)
	if want := "connection refused: is ppserver running there on port " + port + "?"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// The reason has no address in it: that of many servers is one.
func TestUnreachable(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{dial(&net.DNSError{Err: "no such host", Name: "nod", IsNotFound: true}), "no such host: is the name spelt right?"},
		{dial(&net.DNSError{Err: "read udp 127.0.0.1:5->127.0.0.1:53: read: connection refused", Server: "127.0.0.1:53"}), "name server 127.0.0.1:53: connection refused: does it answer?"},
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "connection refused: is ppserver running there on port 7070?"},
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "network is unreachable: is the host up, and is there a route to it?"},
		{dial(os.ErrDeadlineExceeded), "no answer to a connection for 5s: is the host up, and no firewall before port 7070?"},
	} {
		if got := unreachable("node1:7070", c.err).Error(); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

// What is no ppserver is called so, and is not tried again.
func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			io.WriteString(conn, "SSH-2.0-OpenSSH_9.2p1\r\n")
			defer conn.Close()
		}
	}()
	if _, err := Dial(t.Context(), l.Addr().String(), ringOf(t, false), false); err == nil || !strings.Contains(err.Error(), "is no ppserver: which port has it?") {
		t.Errorf("%v", err)
	}
}

// A server that says nothing is not tried again and again: each time takes as long.
func TestSilenceIsNoDrop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Unix(1, 0))
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil || isDrop(err) {
		t.Errorf("%v: counts as dropped", err)
	}
}

// A server that is believed once is known from then on.
func TestAcceptNew(t *testing.T) {
	ring := ringOf(t, false)
	h := serve(t, ring)
	client := open(t, t.TempDir())
	client.client = ring.client
	conn, err := Dial(t.Context(), h.address, client, true)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, conn)
	again := open(t, client.Dir)
	again.client = ring.client
	if conn, err = Dial(t.Context(), h.address, again, false); err != nil {
		t.Fatal(err)
	}
	echo(t, conn)
}

// An impostor that accepts every client but does not know the secret is not believed.
func TestImpostor(t *testing.T) {
	impostor := ringOf(t, false)
	client := open(t, t.TempDir())
	client.client, client.secrets = impostor.client, ringOf(t, true).secrets
	h := serve(t, impostor)
	if _, err := Dial(t.Context(), h.address, client, false); err == nil || !strings.Contains(err.Error(), "knows no secret of ours") {
		t.Errorf("%v, want that it knows no secret", err)
	}
}

// A proof that was made for one connection is worth nothing on another.
func TestReplay(t *testing.T) {
	ring := ringOf(t, true)
	h := serve(t, ring)
	session := func() (*tls.Conn, []byte) {
		conn, err := tls.Dial("tcp", h.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
		if err != nil {
			t.Fatal(err)
		}
		exported, err := export(conn)
		if err != nil {
			t.Fatal(err)
		}
		return conn, exported
	}
	first, exported := session()
	defer first.Close()
	second, _ := session()
	defer second.Close()
	proof := prove(ring.secrets[0].bytes, roleClient, exported)
	for conn, want := range map[*tls.Conn]frame.Kind{first: kindWelcome, second: kindRefuse} {
		if err := frame.Write(conn, frame.Header{Kind: kindLogin, ID: Version}, proof); err != nil {
			t.Fatal(err)
		}
		if h, _, err := readFrame(conn); err != nil || h.Kind != want {
			t.Errorf("kind %d, %v, want kind %d", h.Kind, err, want)
		}
	}
}

func TestVersionOfLogin(t *testing.T) {
	h := serve(t, ringOf(t, false))
	conn, err := tls.Dial("tcp", h.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	frame.Write(conn, frame.Header{Kind: kindLogin, ID: Version + 1}, nil)
	if h, text, err := readFrame(conn); err != nil || h.Kind != kindRefuse || !strings.Contains(string(text), "use one version of pprun") {
		t.Errorf("kind %d %q, %v", h.Kind, text, err)
	}
}

// Whatever strangers send or do not send, a client gets in.
func TestStrangers(t *testing.T) {
	ring := ringOf(t, true)
	h := serve(t, ring)
	for i := range 2 * maxPending {
		conn, err := net.Dial("tcp", h.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i%2 == 0 {
			conn.Write(bytes.Repeat([]byte{0x16, 3, 1, 0xff}, 1<<12))
		}
	}
	conn, err := Dial(t.Context(), h.address, ring, false)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, conn)
	h.Server.mu.Lock()
	defer h.Server.mu.Unlock()
	if n := len(h.pending); n > maxPending {
		t.Errorf("%d connections on their way in, want at most %d", n, maxPending)
	}
}

// Who is taken out of the files is known no more.
func TestReplace(t *testing.T) {
	ring := ringOf(t, true)
	s := NewServer(ring)
	byKey, bySecret := Client{key: string(ring.client.Public())}, Client{secret: ring.secrets[0].bytes}
	if !s.Knows(byKey) || !s.Knows(bySecret) {
		t.Fatal("clients are not known from the beginning")
	}
	for _, file := range []string{clientsFile, secretFile} {
		if err := os.Remove(ring.path(file)); err != nil {
			t.Fatal(err)
		}
	}
	s.Replace(open(t, ring.Dir))
	if s.Knows(byKey) || s.Knows(bySecret) {
		t.Error("clients are known whose keys are gone")
	}
}

// What root wrote for a server, such as its --config, is good; what another user wrote never is, nor is a secret of root's.
func TestTrusted(t *testing.T) {
	for _, c := range []struct {
		uid       int
		forbidden fs.FileMode
		want      bool
	}{{1000, public, true}, {1000, private, true}, {0, public, true}, {0, private, false}, {1001, public, false}, {1001, private, false}} {
		if got := trusted(c.uid, 1000, c.forbidden); got != c.want {
			t.Errorf("a file of %d, with %#o forbidden: %v", c.uid, c.forbidden, got)
		}
	}
}

func TestFilesOfOthers(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, ring *Keyring)
		want  string
	}{
		{"server.key for all to read", func(t *testing.T, r *Keyring) { chmod(t, r.path(serverFile), 0o644) }, "others may read it (mode 0644): chmod 600"},
		{"secret for all to read", func(t *testing.T, r *Keyring) { chmod(t, r.path(secretFile), 0o644) }, "others may read it (mode 0644): chmod 600"},
		{"clients for the group to write", func(t *testing.T, r *Keyring) { chmod(t, r.path(clientsFile), 0o660) }, "others may change it (mode 0660)"},
		{"directory for all to write", func(t *testing.T, r *Keyring) { chmod(t, r.Dir, 0o777) }, "others may write there (mode 0777): chmod 700"},
		{"symbolic link", func(t *testing.T, r *Keyring) {
			if err := os.Rename(r.path(secretFile), r.path("elsewhere")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("elsewhere", r.path(secretFile)); err != nil {
				t.Fatal(err)
			}
		}, "is a symbolic link"},
		{"directory in its place", func(t *testing.T, r *Keyring) {
			os.Remove(r.path(secretFile))
			if err := os.Mkdir(r.path(secretFile), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is no regular file"},
		{"owner", func(t *testing.T, r *Keyring) {
			if os.Getuid() != 0 {
				t.Skip("needs root to give a file away")
			}
			if err := os.Chown(r.path(secretFile), 12345, -1); err != nil {
				t.Fatal(err)
			}
		}, "belongs to uid 12345"},
		{"directory above for all to write", func(t *testing.T, r *Keyring) { chmod(t, filepath.Dir(r.Dir), 0o777) }, "above it: others may write there (mode 0777)"},
		{"directory above of another", func(t *testing.T, r *Keyring) {
			if os.Getuid() != 0 {
				t.Skip("needs root to give a directory away")
			}
			if err := os.Chown(filepath.Dir(r.Dir), 12345, -1); err != nil {
				t.Fatal(err)
			}
		}, "above it: belongs to uid 12345"},
		{"pipe", func(t *testing.T, r *Keyring) {
			os.Remove(r.path(secretFile))
			if err := syscall.Mkfifo(r.path(secretFile), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is no regular file"},
		{"short secret", func(t *testing.T, r *Keyring) { rewrite(t, r.path(secretFile), "0123456789abcdef\n") }, "want at least 32 hexadecimal digits"},
		{"three secrets", func(t *testing.T, r *Keyring) {
			rewrite(t, r.path(secretFile), strings.Repeat(newSecret()+"\n", 3))
		}, "3 secrets: want one, or two"},
		{"no time", func(t *testing.T, r *Keyring) { rewrite(t, r.path(secretFile), newSecret()+" expires=soon\n") }, "line 1: want nothing after the secret, or expires="},
		{"no key", func(t *testing.T, r *Keyring) { rewrite(t, r.path(serverFile), "hello\n") }, "is no private key: ppserver keygen"},
		{"no client", func(t *testing.T, r *Keyring) { rewrite(t, r.path(clientsFile), "\n# comment\nhello\n") }, "line 3: \"hello\" is no public key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ring := ringOf(t, true)
			c.spoil(t, ring)
			if _, err := Open(ring.Dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A key that is there is not made again, nor is a client let in twice.
func TestGenerateAgain(t *testing.T) {
	ring := ringOf(t, true)
	before, err := os.ReadFile(ring.path(clientsFile))
	if err != nil {
		t.Fatal(err)
	}
	if made, err := ring.Generate(true); err != nil || len(made) > 0 {
		t.Errorf("made %v, %v", made, err)
	}
	if after, _ := os.ReadFile(ring.path(clientsFile)); !bytes.Equal(before, after) {
		t.Errorf("%s was %q, is %q", clientsFile, before, after)
	}
}

// A server without keys has a secret for this machine as long as it runs.
func TestLoopback(t *testing.T) {
	dir := t.TempDir()
	chmod(t, dir, 0o700)
	ring := open(t, dir)
	if ring.Admits() {
		t.Fatal("a keyring without keys admits somebody")
	}
	done, err := ring.OpenLoopback()
	if err != nil {
		t.Fatal(err)
	}
	h := serve(t, ring)
	conn, err := Dial(t.Context(), h.address, open(t, dir), false)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, conn)
	done()
	if _, err := os.Stat(ring.path(loopbackFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the secret is left: %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	nonce, secrets := make([]byte, nonceLen), []secret{{bytes: make([]byte, secretLen)}}
	f.Add(formatQuery(nonce, secrets))
	f.Add(formatAnswer(nonce, secrets[0].bytes, "127.0.0.1:60000"))
	f.Add(frame.Append(nil, frame.Header{Kind: kindLogin, ID: Version}, make([]byte, 2*proofLen)))
	f.Add(frame.Append(nil, frame.Header{Kind: kindRefuse}, []byte("no")))
	f.Fuzz(func(t *testing.T, b []byte) {
		defer bounded.Memory(t)()
		if n, known := parseQuery(b, secrets); known != nil && !bytes.Contains(b, formatQuery(n, secrets)[len(queryMagic)+nonceLen:]) {
			t.Errorf("%q is a query", b)
		}
		if a, ok := parseAnswer(b, nonce, secrets); ok && !a.IsValid() {
			t.Errorf("%v from %q", a, b)
		}
		r := bytes.NewReader(b)
		h, payload, err := readFrame(r)
		if err == nil && (len(payload) > longest[h.Kind] || len(b)-r.Len() != frame.HeaderLen+len(payload)) {
			t.Errorf("kind %d: %d bytes, of %d that were read", h.Kind, len(payload), len(b)-r.Len())
		}
	})
}

// TestManyNewServers has a client meet several servers that it does not know, at the same time: it knows them all from then on.
func TestManyNewServers(t *testing.T) {
	client := ringOf(t, false)
	if err := os.Remove(client.path(serversFile)); err != nil {
		t.Fatal(err)
	}
	client = open(t, client.Dir)
	const servers = 16
	errs := make([]error, servers)
	var all sync.WaitGroup
	for i := range servers {
		ring := ringOf(t, false)
		if err := ring.Authorize(client.Client().Public(), ""); err != nil {
			t.Fatal(err)
		}
		h := serve(t, ring)
		all.Go(func() {
			conn, err := Dial(t.Context(), h.address, client, true)
			if errs[i] = err; err == nil {
				conn.Close()
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if n := len(open(t, client.Dir).servers); n != servers {
		t.Errorf("%d servers are known, want %d", n, servers)
	}
}

// TestSharedLoopback has servers without keys share a secret, which stays as long as one of them runs.
func TestSharedLoopback(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var closes []func()
	for range 3 {
		done, err := open(t, dir).OpenLoopback()
		if err != nil {
			t.Fatal(err)
		}
		closes = append(closes, done)
	}
	secret := open(t, dir).loopback
	for i, done := range closes {
		if got := open(t, dir).loopback; len(got) != 1 || !bytes.Equal(got[0].bytes, secret[0].bytes) {
			t.Errorf("when %d of %d servers have ended programs find %d secrets, want that of the others", i, len(closes), len(got))
		}
		done()
	}
	if got := open(t, dir).loopback; len(got) != 0 {
		t.Error("the secret stays when all have ended")
	}
}
