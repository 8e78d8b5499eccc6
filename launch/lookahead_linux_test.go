package launch

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/pprun/pprun/launch/agent"
	"golang.org/x/sys/unix"
)

// conduits are files in which bytes come from another process.
var conduits = map[string]func(*testing.T) (r, w *os.File){
	"pipe": pipePair,
	"pipe of one page": func(t *testing.T) (r, w *os.File) {
		r, w = pipePair(t)
		resizePipe(t, r, os.Getpagesize())
		return r, w
	},
	"Unix socket": func(t *testing.T) (r, w *os.File) {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return pair(t, os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w"))
	},
	"TCP socket": func(t *testing.T) (r, w *os.File) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ends := make([]*os.File, 2)
		for i, open := range []func() (net.Conn, error){func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }, l.Accept} {
			c, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if ends[i], err = c.(*net.TCPConn).File(); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		return pair(t, ends[0], ends[1])
	},
}

func pair(t *testing.T, r, w *os.File) (*os.File, *os.File) {
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func pipePair(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return pair(t, r, w)
}

func resizePipe(t *testing.T, pipe *os.File, n int) {
	t.Helper()
	if _, err := unix.FcntlInt(pipe.Fd(), unix.F_SETPIPE_SZ, n); err != nil {
		t.Fatal(err)
	}
}

func eachConduit(t *testing.T, test func(t *testing.T, r, w *os.File)) {
	for name, open := range conduits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w := open(t)
			test(t, r, w)
		})
	}
}

// left reads what is left for who comes next.
func left(t *testing.T, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(r, b); err != nil || string(b) != want {
		t.Errorf("left %.20q (%v), want %.20q", b, err, want)
	}
}

// Input is there for the ranks as soon as it comes, and for others as long as no rank has read it.
func TestUnreadInputStays(t *testing.T) {
	eachConduit(t, func(t *testing.T, r, w *os.File) {
		in := forwardTo(t, r, 0, 1)
		io.WriteString(w, "abc")
		in.await(0, "abc", false)
		io.WriteString(w, "def")
		in.await(0, "abcdef", false)
		in.reads(0, 1)
		io.WriteString(w, "ghi")
		in.await(1, "abcdefghi", false)
		in.leave(1, 5) // it read most
		in.leave(0, 4)
		in.awaitEnd()
		in.close()
		io.WriteString(w, "jkl")
		left(t, r, "fghijkl")
	})
}

func TestEndOfInput(t *testing.T) {
	eachConduit(t, func(t *testing.T, r, w *os.File) {
		io.WriteString(w, "abc")
		in := forwardTo(t, r, 0)
		in.await(0, "abc", false)
		in.reads(0, 2)
		w.Close()
		in.await(0, "abc", true)
		in.leave(0, 2)
		in.close()
		left(t, r, "c")
		if n, err := r.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%d more bytes are left, %v", n, err)
		}
	})
}

// A rank that ends ends the forwarding, though nothing and nobody comes.
func TestInputThatStaysOpen(t *testing.T) {
	eachConduit(t, func(t *testing.T, r, w *os.File) {
		in := forwardTo(t, r, 0, 1)
		in.leave(0, 0)
		in.credit(credit{rank: 1}) // it has closed its input
		in.awaitEnd()
		in.close()
		io.WriteString(w, "abc")
		left(t, r, "abc")
	})
}

// A writer that is faster than the ranks waits, and loses nothing.
func TestInputThatNobodyReads(t *testing.T) {
	eachConduit(t, func(t *testing.T, r, w *os.File) {
		all := string(randomBytes(4 * agent.StdinWindow))
		wrote := make(chan error, 1)
		go func() {
			_, err := io.WriteString(w, all)
			wrote <- err
		}()
		in := forwardTo(t, r, 0)
		<-in.news
		in.leave(0, 1)
		in.awaitEnd()
		in.close()
		left(t, r, all[1:])
		if err := <-wrote; err != nil {
			t.Error(err)
		}
		if sent, _ := in.state(0); len(sent) > agent.StdinWindow {
			t.Errorf("%d bytes were sent ahead", len(sent))
		}
	})
}

// Everything arrives, whatever the sizes in which it is written and read.
func TestInputFlows(t *testing.T) {
	eachConduit(t, func(t *testing.T, r, w *os.File) { flow(t, forwardTo(t, r, 0), w) })
	t.Run("pipe that another process enlarges", func(t *testing.T) {
		r, w := pipePair(t)
		in := forwardTo(t, r, 0)
		resizePipe(t, r, 1<<20)
		flow(t, in, w)
	})
}

func flow(t *testing.T, in *readers, w *os.File) {
	all := randomBytes(3_000_000)
	go func() {
		for rest := all; len(rest) > 0; {
			n := min(len(rest), 1+rand.IntN(10_000))
			w.Write(rest[:n])
			rest = rest[n:]
		}
		w.Close()
	}()
	for read := 0; ; <-in.news {
		got, over := in.state(0)
		for read < len(got) {
			m := 1 + rand.IntN(len(got)-read)
			in.reads(0, m)
			read += m
		}
		if over {
			break
		}
	}
	in.leave(0, int64(len(all)))
	in.close()
	if got, _ := in.state(0); !bytes.Equal(got, all) {
		t.Errorf("%d bytes came, and they are not the %d that were written", len(got), len(all))
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// Who reads the same pipe at the same time gets in the way, but not into a hang.
func TestInputThatOthersRead(t *testing.T) {
	eachConduit(t, func(t *testing.T, r, w *os.File) {
		io.WriteString(w, "abcdef")
		in := forwardTo(t, r, 0)
		in.await(0, "abcdef", false)
		left(t, r, "abcd") // to them
		in.reads(0, 6)
		io.WriteString(w, "ghi")
		w.Close()
		in.awaitEnd()
		in.close()
	})
}
