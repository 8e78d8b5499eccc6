package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Main runs the hidden command that args name and returns its exit status:
//
//	agent          speak with the launcher over standard input and output (ssh session)
//	agent --fd N   over the socket N; descriptor 0 is the launcher's own standard input (socketpair)
//	agent --fd N --server ADDRESS --ledger N --quotas JSON   for a ppserver, which launchers reach at ADDRESS
//	guard          watch over an agent
func Main(args []string) int {
	if len(args) > 0 && args[0] == "guard" {
		return guardMain()
	}
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	fd := flags.Int("fd", -1, "socket to the launcher")
	server := flags.String("server", "", "address of the ppserver")
	var quotas Quotas
	flags.Func("quotas", "of a client of the ppserver", quotas.Set)
	ledgerFD := flags.Int("ledger", -1, "descriptor for the ppserver's ledger")
	if len(args) == 0 || args[0] != "agent" || flags.Parse(args[1:]) != nil || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "pprun: agent and guard are commands that pprun gives to itself")
		return 64
	}
	var rwc io.ReadWriteCloser
	var cfg Config
	var err error
	switch {
	case *server != "":
		cfg = Config{Remote: true, Reached: *server, Grace: serverGrace, Heartbeat: serverHeartbeat, Quotas: quotas, Ledger: inheritedLedger(*ledgerFD)}
		if err = quotas.limit(); err == nil {
			rwc, err = socket(*fd)
		}
	case *fd >= 0:
		cfg.Stdin, cfg.Stdout = os.Stdin, os.Stdout
		rwc, err = socket(*fd)
	default:
		go Identity() // which hello asks for, and takes a moment
		touchSelf()
		cfg.Remote = true
		rwc = stdio()
	}
	if err == nil {
		hideMemory()
		err = Serve(untilTerm(), rwc, cfg)
	}
	if err == errNoJob {
		return 125
	}
	if err != nil {
		host, _ := os.Hostname()
		fmt.Fprintf(os.Stderr, "pprun: agent on %s: %v\n", host, err)
		return 125
	}
	return 0
}

// serverGrace is the time that ranks get between TERM and KILL when a client leaves a ppserver: others wait for the
// processors.
const serverGrace = time.Second

// serverHeartbeat is the most that a client of a ppserver may ask for (Hello.Heartbeat): one that has vanished keeps its ranks
// no longer.
const serverHeartbeat = time.Minute

// untilTerm returns a context that TERM ends. What else would end this process is caught, not ignored, because ranks would
// inherit that, and so is what pprun ignores. Other signals that stop a process come from a terminal, which neither agent nor
// guard has.
func untilTerm() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGTERM)
	go func() { // beside the start of the agent, as each takes a while
		signal.Notify(c, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGPIPE,
			syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGXFSZ)
		for s := range c {
			if s == syscall.SIGTERM {
				cancel(errors.New("terminated by SIGTERM"))
			}
		}
	}()
	return ctx
}

// socket takes over an inherited descriptor.
func socket(fd int) (io.ReadWriteCloser, error) {
	f := os.NewFile(uintptr(fd), "launcher")
	if f == nil {
		return nil, fmt.Errorf("--fd %d: no descriptor", fd)
	}
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("--fd %d: %w", fd, err)
	}
	if u, ok := c.(*net.UnixConn); ok {
		u.SetWriteBuffer(4 * ChunkLen)
		u.SetReadBuffer(4 * ChunkLen)
	}
	return c, nil
}

// duplex makes one stream of standard input and output.
type duplex struct {
	io.Reader
	io.Writer
	in, out *os.File
}

func stdio() io.ReadWriteCloser {
	in, out := pollable(0, "stdin"), pollable(1, "stdout")
	return &duplex{in, out, in, out}
}

func (d *duplex) Close() error { return errors.Join(d.in.Close(), d.out.Close()) }

// pollable makes a descriptor one whose Close ends a blocked Read or Write, if it is a pipe or socket.
func pollable(fd int, name string) *os.File {
	syscall.CloseOnExec(fd)
	var st syscall.Stat_t
	if syscall.Fstat(fd, &st) == nil && (st.Mode&syscall.S_IFMT == syscall.S_IFIFO || st.Mode&syscall.S_IFMT == syscall.S_IFSOCK) {
		syscall.SetNonblock(fd, true)
	}
	return os.NewFile(uintptr(fd), name)
}
