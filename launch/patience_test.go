package launch_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch"
	"github.com/pprun/pprun/launch/door"
)

// A machine that does not answer is named while it is waited for, where no terminal shows it anyway.
func TestWaitIsTold(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ring, err := door.Open(t.TempDir())
	if err == nil {
		_, err = ring.Generate(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	said, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan string, 2)
	go func() {
		defer close(told)
		for lines := bufio.NewScanner(said); lines.Scan(); cancel() {
			told <- lines.Text()
		}
	}()
	at := silent.Addr().(*net.TCPAddr)
	status := launch.Run(ctx, launch.Config{
		Target: "true", Keys: ring.Dir, Stderr: stderr, Servers: []hostfile.Node{{Host: at.IP.String(), Port: at.Port}},
	})
	stderr.Close()
	if first, then := <-told, <-told; first != "pprun: connecting to 127.0.0.1" || status != launch.StatusFailed || !strings.Contains(then, "canceled") {
		t.Errorf("%q, %q, exit status %d", first, then, status)
	}
}
