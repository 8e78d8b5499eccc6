package ssh

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// connect raises a host and connects to it.
func connect(t testing.TB, cfg Config) *Client {
	t.Helper()
	h := startHost(t, "")
	h.knows("", "ed25519")
	cfg.ConfigFile = h.config("node3")
	return mustDial(t, "node3", cfg)
}

func TestSession(t *testing.T) {
	c := connect(t, Config{})
	for command, want := range map[string]struct {
		stdout, stderr, err string
	}{
		"true":                             {},
		"echo out; echo err >&2; exit 3":   {"out\n", "err\n", "exit status 3"},
		"kill -TERM $$":                    {err: "killed by signal TERM"},
		"head -c 1000000 /dev/zero >&2":    {stderr: strings.Repeat("\x00", maxStderr)},
		"/nonexistent/program 2>/dev/null": {err: "exit status 127"},
	} {
		s, err := c.Start(t.Context(), command)
		if err != nil {
			t.Fatal(err)
		}
		s.CloseWrite()
		out, err := io.ReadAll(s)
		if err != nil || string(out) != want.stdout {
			t.Errorf("%s: stdout %q, %v", command, out, err)
		}
		if err := s.Wait(); (err != nil || want.err != "") && (err == nil || err.Error() != want.err) {
			t.Errorf("%s: got %v, want %s", command, err, want.err)
		}
		if got := s.Stderr(); got != want.stderr {
			t.Errorf("%s: stderr %.20q (%d bytes), want %.20q", command, got, len(got), want.stderr)
		}
		s.Close()
	}
	var exit *ExitError
	s, err := c.Start(t.Context(), "exit 7")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); !errors.As(err, &exit) || exit.Status != 7 {
		t.Errorf("got %v", err)
	}
}

func TestUpload(t *testing.T) {
	c := connect(t, Config{})
	s, err := c.Start(t.Context(), "exec cat")
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 10<<20)
	rand.Read(sent)
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Write(sent) // all at once: Session cuts it
		wrote <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if err := errors.Join(err, <-wrote, s.Wait()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back, not those that were sent", len(got))
	}
}

func TestCloseEndsEverything(t *testing.T) {
	c := connect(t, Config{})
	s, err := c.Start(t.Context(), "exec cat")
	if err != nil {
		t.Fatal(err)
	}
	full := make(chan error)
	go func() {
		for { // until the windows are full, as nobody reads what cat writes
			if _, err := s.Write(make([]byte, 1<<20)); err != nil {
				full <- err
				return
			}
		}
	}()
	c.Close()
	if err := <-full; err == nil {
		t.Error("Write goes on")
	}
	if _, err := io.Copy(io.Discard, s); err != nil && !errors.Is(err, io.EOF) {
		t.Logf("Read after Close: %v", err)
	}
	if err := s.Wait(); err == nil {
		t.Error("Wait reports success")
	}
	if _, err := c.Start(t.Context(), "true"); err == nil {
		t.Error("Start after Close succeeds")
	}
}

// TestConnectionLost kills, or stops, the process that serves the connection.
func TestConnectionLost(t *testing.T) {
	for _, test := range []struct {
		signal syscall.Signal
		want   string
	}{
		{syscall.SIGKILL, "node3: connection lost: "},
		{syscall.SIGSTOP, "node3: connection lost: no sign of life for "},
	} {
		t.Run(test.signal.String(), func(t *testing.T) {
			c := connect(t, Config{KeepAlive: 50 * time.Millisecond})
			server, err := strconv.Atoi(strings.TrimSpace(output(t, c, "echo $PPID")))
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.Start(t.Context(), "exec cat")
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(server, test.signal); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { syscall.Kill(server, syscall.SIGKILL) })
			<-c.Done()
			if err := c.Err(); !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if _, err := s.Read(make([]byte, 1)); err == nil {
				t.Error("Read goes on")
			}
			if err := s.Wait(); err == nil || err.Error() != c.Err().Error() {
				t.Errorf("Wait returns %v", err)
			}
		})
	}
}

// TestKeepAlive lets a connection idle for many intervals.
func TestKeepAlive(t *testing.T) {
	c := connect(t, Config{KeepAlive: 20 * time.Millisecond})
	before := c.transport.arrived.Load()
	for c.transport.arrived.Load() < before+10*20 { // ten answers, which are packets of more than 20 bytes
		select {
		case <-c.Done():
			t.Fatal(c.Err())
		case <-time.After(time.Millisecond):
		}
	}
	if got := output(t, c, "echo still here"); got != "still here\n" {
		t.Errorf("got %q", got)
	}
}

func TestMaxSessions(t *testing.T) {
	h := startHost(t, "MaxSessions 1\n")
	h.knows("", "ed25519")
	c := mustDial(t, "node3", Config{ConfigFile: h.config("node3")})
	s, err := c.Start(t.Context(), "exec cat")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = c.Start(t.Context(), "true")
	if want := "node3: start: session refused: open failed: what is MaxSessions of sshd there?"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// BenchmarkConnect is the time to connect, authenticate and run a command that does nothing.
func BenchmarkConnect(b *testing.B) {
	h := startHost(b, "LogLevel INFO\n")
	h.knows("", "ed25519")
	config := h.config("node3")
	b.Run("Dial", func(b *testing.B) {
		for b.Loop() {
			c, err := Dial(b.Context(), "node3", Config{ConfigFile: config})
			if err != nil {
				b.Fatal(err)
			}
			output(b, c, "true")
			c.Close()
		}
	})
	b.Run("OpenSSH", func(b *testing.B) {
		for b.Loop() {
			h.run("ssh", "-F", config, "node3", "true")
		}
	})
}

// BenchmarkUpload is the rate of data to a command that discards it.
func BenchmarkUpload(b *testing.B) {
	c := connect(b, Config{})
	data := make([]byte, 32<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s, err := c.Start(b.Context(), "exec cat >/dev/null")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Write(data); err != nil {
			b.Fatal(err)
		}
		s.CloseWrite()
		if err := s.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
