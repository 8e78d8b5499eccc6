package launch

import (
	"context"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/pprun/pprun/hostfile"
	"github.com/pprun/pprun/launch/door"
)

// ServerPort is where a ppserver listens unless it is told otherwise.
const ServerPort = 60000

// serverLauncher is the launcher for nodes on which a ppserver runs: it has the agent.
type serverLauncher struct {
	Keys      string // directory of keys; empty: door.DefaultDir
	AcceptNew bool   // believe servers whose key is not known, and know them from then on
}

// Launch logs in to the servers.
func (s *serverLauncher) Launch(ctx context.Context, nodes []hostfile.Node, up upFunc) error {
	ring, err := s.keyring()
	if err != nil {
		return err
	}
	launchEach(nodes, up, func(n hostfile.Node, _ func(func())) (io.ReadWriteCloser, error) {
		return door.Dial(ctx, serverAddress(n), ring, s.AcceptNew)
	})
	return nil
}

func (s *serverLauncher) keyring() (*door.Keyring, error) {
	dir := s.Keys
	if dir == "" {
		var err error
		if dir, err = door.DefaultDir(); err != nil {
			return nil, err
		}
	}
	return door.Open(dir)
}

// serverAddress is where a node's ppserver listens.
func serverAddress(n hostfile.Node) string { return net.JoinHostPort(n.Host, strconv.Itoa(n.Port)) }

// spare lets the job go on without servers that did not answer, if enough did.
func (j *job) spare() {
	var failed []*node
	servers := 0
	for _, n := range j.nodes {
		if n.server {
			servers++
		}
		if n.failed == "" {
			continue
		}
		if !n.server {
			return
		}
		failed = append(failed, n)
	}
	if j.MinServers == 0 || servers-len(failed) < j.MinServers {
		return
	}
	for _, n := range failed {
		j.warn("%s: %s: the job goes on without it", n.host.Host, n.failed)
		n.failed, n.done, n.missing = "", true, true
	}
	j.failedAt = time.Time{}
}
