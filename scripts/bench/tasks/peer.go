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
)

// Noop is the service of the net/rpc servers.
type Noop struct{}

func (Noop) Call(n int, result *int) error { *result = n; return nil }

// serve is a net/rpc server: it prints its address and lives until its standard input ends.
func serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
	rpc.Register(Noop{})
	go rpc.Accept(l)
	fmt.Println(l.Addr())
	io.Copy(io.Discard, os.Stdin)
}

// peers are net/rpc servers in processes of their own.
type peers struct {
	clients []*rpc.Client
	stdins  []io.Closer
	cmds    []*exec.Cmd
}

func startPeers(n int) (*peers, error) {
	p := &peers{}
	for range n {
		if err := p.start(); err != nil {
			p.stop()
			return nil, fmt.Errorf("start net/rpc server: %w", err)
		}
	}
	return p, nil
}

func (p *peers) start() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, "serve")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmds, p.stdins = append(p.cmds, cmd), append(p.stdins, in)
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return err
	}
	client, err := rpc.Dial("tcp", strings.TrimSpace(address))
	if err != nil {
		return err
	}
	p.clients = append(p.clients, client)
	return nil
}

func (p *peers) stop() {
	for _, c := range p.clients {
		c.Close()
	}
	for i, in := range p.stdins {
		in.Close()
		p.cmds[i].Wait()
	}
}

func (p *peers) oneByOne(n int) error {
	for i := range n {
		var result int
		if err := p.clients[i%len(p.clients)].Call("Noop.Call", i, &result); err != nil || result != i {
			return fmt.Errorf("noop(%d) = %d, %v", i, result, err)
		}
	}
	return nil
}

// pipelined keeps 64 calls under way to each server.
func (p *peers) pipelined(n int) error {
	const window = 64
	errs := make(chan error, len(p.clients))
	for _, c := range p.clients {
		go func() {
			done := make(chan *rpc.Call, window)
			sent, got := 0, 0
			for each := n / len(p.clients); got < each; {
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
	for range p.clients {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}
