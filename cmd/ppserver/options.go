package main

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pprun/pprun/launch"
	"github.com/pprun/pprun/launch/door"
	"github.com/spf13/pflag"
)

// options is what the command line says.
type options struct {
	command  string   // empty: serve
	args     []string // of the command
	keys     string   // directory
	listen   string   // host:port; empty: to be chosen
	port     int
	workers  int
	idle     time.Duration
	pidFile  string
	runAs    string
	logJSON  bool
	announce bool
	quotas
	secret        bool
	json          bool
	help, version bool
}

const help = `ppserver lets programs on other machines use the cores of this one.

  node-1> ppserver keygen         once; then copy ~/.config/pprun to the other machines
  node-1> ppserver                on each of them
  here>   pprun --servers node-1,node-2,node-3 ./prog

Commands
  keygen [--secret]        make the keys that are missing: of servers, and of clients, whom the
                           servers let in; --secret: also a secret that both sides share
  status [HOST[:PORT]]     ask a server what it does: that of this machine, or another; --json
  authorize KEY [COMMENT]  let in the holder of another client key; - reads it from standard input
  (none)                   serve
  help, version            also --help, --version

Serving
  -l, --listen HOST[:PORT] address to listen on, never a wildcard (default: the one address by which
                           other machines reach this one; without keys, 127.0.0.1)
  -p, --port N             port (default 60000)
  -w, --workers N          ranks for each client, unless it asks for less or more as HOST*N
                           (default: one for each usable CPU)
      --announce           let pprun --discover find this server: whoever has the same secret does
  -t, --idle SECONDS       end after so long without a client
  -P, --pid-file FILE      write the process id there
      --run-as USER        run the clients' programs as this user (root only, who has to give one)
      --log-format FORMAT  text (default) or json: a line for each login, refusal and end
      --keys DIR           directory of keys (default: PPRUN_KEYS, else ~/.config/pprun)
  -c, --config FILE        more of these, in lines such as "workers = 8"; the command line counts more

What clients may have; 0: as much as they like
      --max-clients N      clients at a time (default 64)
      --max-per-key N      of them with the same key, or let in by the secret (default 16)
      --max-ranks N        ranks of a client (default 256, or the workers if there are more)
      --max-upload SIZE    of all the files that a client sends (default 1G)
      --max-file SIZE      of a file that its programs write, and of the program itself (default 0)
      --max-processes N    with their threads (default 4096 where there are control groups, else 0)
      --max-memory SIZE    of all its processes; needs control groups (default 0)
      --max-time DURATION  of a client's job, such as 12h (default 0)

Signals: HUP reads the keys again (not --config), and ends clients that they no longer let in. TERM
lets the clients finish and takes no new ones; a second TERM, or INT, ends them. USR1 prints statistics of
the processes that have ended, as Parallel Python does.
`

func parse(args []string) (*options, error) {
	o := &options{}
	f := pflag.NewFlagSet("ppserver", pflag.ContinueOnError)
	f.Usage = func() {}
	f.StringVarP(&o.listen, "listen", "l", "", "")
	f.IntVarP(&o.port, "port", "p", launch.ServerPort, "")
	f.IntVarP(&o.workers, "workers", "w", runtime.GOMAXPROCS(0), "")
	idle := f.IntP("idle", "t", 0, "")
	f.StringVarP(&o.pidFile, "pid-file", "P", "", "")
	f.StringVar(&o.runAs, "run-as", "", "")
	format := f.String("log-format", "text", "")
	f.StringVar(&o.keys, "keys", "", "")
	f.BoolVar(&o.secret, "secret", false, "")
	f.BoolVar(&o.json, "json", false, "")
	f.BoolVar(&o.announce, "announce", false, "")
	o.quotas.flags(f)
	config := f.StringP("config", "c", "", "")
	f.BoolVarP(&o.help, "help", "h", false, "")
	f.BoolVar(&o.version, "version", false, "")
	if err := f.Parse(args); err != nil {
		return nil, flagError(err)
	}
	if o.help || o.version {
		return o, nil
	}
	if *config != "" {
		if err := readConfig(f, *config); err != nil {
			return nil, err
		}
	}
	o.quotas.count = f.Changed("max-processes")
	o.idle, o.logJSON = time.Duration(*idle)*time.Second, *format == "json"
	if f.NArg() > 0 {
		o.command, o.args = f.Arg(0), f.Args()[1:]
	}
	if o.workers > o.Ranks && !f.Changed("max-ranks") {
		o.Ranks = o.workers
	}
	switch {
	case o.port < 1 || o.port > 65535:
		return nil, usagef("--port %d: want a port from 1 to 65535", o.port)
	case o.workers < 1:
		return nil, usagef("--workers %d: want at least 1", o.workers)
	case o.Ranks > 0 && o.workers > o.Ranks:
		return nil, usagef("--workers %d and --max-ranks %d: a client that asks for no number gets a rank for each worker", o.workers, o.Ranks)
	case *idle < 0:
		return nil, usagef("--idle %d: want a number of seconds", *idle)
	case *format != "text" && *format != "json":
		return nil, usagef("--log-format %s: want text or json", *format)
	case !slices.Contains([]string{"", "keygen", "authorize", "status", "help", "version"}, o.command):
		return nil, usagef("%s: no such command: want keygen, status or authorize, or none to serve: see ppserver --help", o.command)
	case o.command == "keygen" && len(o.args) > 0:
		return nil, usagef("keygen %s: takes no arguments", o.args[0])
	case o.command == "authorize" && len(o.args) == 0:
		return nil, usagef("authorize: want a key as ppserver keygen prints it, or - for standard input")
	case o.command == "status" && len(o.args) > 1:
		return nil, usagef("status %s: want one server", strings.Join(o.args, " "))
	case o.secret && o.command != "keygen":
		return nil, usagef("--secret: is for ppserver keygen; a secret never stands on a command line")
	case o.json && o.command != "status":
		return nil, usagef("--json: is for ppserver status; for the log there is --log-format json")
	}
	if err := o.quotas.check(); err != nil {
		return nil, err
	}
	if o.listen != "" {
		o.listen = withPort(o.listen, o.port)
	}
	return o, nil
}

// withPort adds a port to an address that has none.
func withPort(address string, port int) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), strconv.Itoa(port))
}

// keyring opens the keys.
func (o *options) keyring() (*door.Keyring, error) {
	dir := o.keys
	if dir == "" {
		var err error
		if dir, err = door.DefaultDir(); err != nil {
			return nil, err
		}
	}
	ring, err := door.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return ring, nil
}
