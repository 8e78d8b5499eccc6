package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/scripts/lab/labtest"
)

const (
	sharedLen   = 100_000_000
	sharedTasks = 40
)

var probe = comm.Register("probe", func(ctx context.Context, r comm.Ref[[]byte]) ([]byte, error) {
	b, err := r.Get(ctx)
	return probes(b), err
})

func probes(b []byte) (some []byte) {
	for at := 0; at < len(b); at += 99_991 {
		some = append(some, b[at])
	}
	return some
}

// beSharer is a job of which 40 tasks need the same 100 MB.
func beSharer() {
	comm.Main(func(ctx context.Context, c *comm.Comm) error {
		b := make([]byte, sharedLen)
		rand.NewChaCha8([32]byte{}).Read(b)
		r, err := comm.Share(ctx, b)
		if err != nil {
			return err
		}
		var fs []*comm.Future[[]byte]
		for range sharedTasks {
			fs = append(fs, probe.Submit(ctx, r))
		}
		all, err := comm.Gather(ctx, fs...)
		if err != nil {
			return err
		}
		for _, some := range all {
			if !bytes.Equal(some, probes(b)) {
				return fmt.Errorf("a task has seen other data")
			}
		}
		return nil
	}, comm.Slots(1))
}

// shared counts the bytes that reach each of two nodes with two ranks: what rank 0 shares comes to the other node once.
func shared(t *testing.T, l lab) {
	if l.Mode() == labtest.Loopback {
		t.Skip("needs networks of its own: not in loopback mode")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := l.Install("sharer", exe)
	l.run("-n", "4", program, "farm", "none").want(t, 64, "no farm") // copies the program
	before1, before2 := received(l, "node1"), received(l, "node2")
	l.run("-n", "4", program, "sharer").want(t, 0, `^$`)
	got1, got2 := received(l, "node1")-before1, received(l, "node2")-before2
	t.Logf("node1, where rank 0 is, received %d bytes, node2 %d, of %d shared with %d tasks", got1, got2, sharedLen, sharedTasks)
	if got1 > sharedLen/10 || got2 < sharedLen || got2 > sharedLen+sharedLen/10 {
		t.Errorf("node1 received %d bytes, want next to none; node2 %d, want little more than %d", got1, got2, sharedLen)
	}
}

// received is how many bytes have come to a host over its cable.
func received(l lab, host string) int {
	n, err := strconv.Atoi(l.Output(host, "cat", "/sys/class/net/eth0/statistics/rx_bytes"))
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}
