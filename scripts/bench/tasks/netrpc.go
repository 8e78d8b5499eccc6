package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Noop is the service of the net/rpc servers.
type Noop struct{}

func (Noop) Call(n int, result *int) error { *result = n; return nil }

// netRPC is a peer: a client of two net/rpc servers.
func netRPC() error {
	var clients []*rpc.Client
	for range 2 {
		conn, err := startServer("serve-net/rpc")
		if err != nil {
			return err
		}
		clients = append(clients, rpc.NewClient(conn))
	}
	return answer(map[string]way{
		single: oneByOne(func(i int) error {
			var n int
			err := clients[i%len(clients)].Call("Noop.Call", i, &n)
			return check(i, n, err)
		}),
		windowed: func(n int) ([]time.Duration, error) { return nil, pipelined(clients, n, 64) },
		gathered: func(n int) ([]time.Duration, error) { return nil, pipelined(clients, n, n) },
	})
}

// pipelined makes n calls, at most window of them under way to each server.
func pipelined(clients []*rpc.Client, n, window int) error {
	errs := make(chan error, len(clients))
	for _, c := range clients {
		go func() {
			done := make(chan *rpc.Call, window)
			sent, got := 0, 0
			for each := n / len(clients); got < each; {
				for ; sent < each && sent-got < window; sent++ {
					c.Go("Noop.Call", sent, new(int), done)
				}
				if call := <-done; call.Error != nil {
					errs <- call.Error
					return
				}
				got++
			}
			errs <- nil
		}()
	}
	for range clients {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// pingPong is a peer: what any call over a TCP connection between two Go programs takes at least.
func pingPong() error {
	conn, err := startServer("serve-echo")
	if err != nil {
		return err
	}
	message := make([]byte, 36) // a task's frame
	return answer(map[string]way{single: oneByOne(func(int) error {
		if _, err := conn.Write(message); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, message)
		return err
	})})
}

// startServer starts this program as a server, which ends when the connection does.
func startServer(role string) (net.Conn, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	return net.Dial("tcp", strings.TrimSpace(address))
}

// serve is such a server: it prints its address and serves one connection.
func serve(handle func(net.Conn)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	handle(conn)
	return nil
}

func serveRPC(conn net.Conn) {
	rpc.Register(Noop{})
	rpc.ServeConn(conn)
}

func serveEcho(conn net.Conn) {
	b := make([]byte, 4096)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		conn.Write(b[:n])
	}
}
