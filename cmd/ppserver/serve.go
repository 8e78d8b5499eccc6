package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/launch/door"
	"github.com/pprun/pprun/launch/own"
)

// server is a ppserver that runs.
type server struct {
	*options
	door     *door.Server
	listener net.Listener
	key      string // fingerprint
	host     string // address that clients reach us by
	user     *account
	groups   *groups // nil: there are no control groups
	alone    error   // why there are none
	log      *slog.Logger
	refused  refusals
	began    time.Time

	work     sync.WaitGroup
	mu       sync.Mutex // guards the fields below
	ends     bool       // it takes no more clients
	sessions map[*session]bool
	logins   int
	stats    statistics
	left     time.Time     // when the last session ended
	leaves   chan struct{} // has one when some have since it was read
}

// serve serves until a signal ends it.
func serve(o *options) error {
	keepDescriptors()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	s, ring, err := open(o)
	if err != nil {
		return err
	}
	if !ring.Admits() {
		done, err := ring.OpenLoopback()
		if err != nil {
			return err
		}
		defer done()
	}
	if ring.Server() == nil {
		return errors.New("keys: there is no server.key: ppserver keygen makes it")
	}
	s.door, s.key = door.NewServer(ring), door.Fingerprint(ring.Server().Public())
	if o.announce {
		done, err := s.door.Announce(s.listener.Addr().(*net.TCPAddr).AddrPort())
		if err != nil {
			return fmt.Errorf("--announce: %w", err)
		}
		defer done()
	}
	if o.pidFile != "" {
		if err := writePID(o.pidFile); err != nil {
			return err
		}
		defer os.Remove(o.pidFile)
	}
	s.greet(ring)
	s.work.Go(s.accept)
	s.obey(signals)
	s.listener.Close()
	s.work.Wait()
	return nil
}

// writePID writes this process's number into a file.
func writePID(path string) error {
	f, err := own.Create(path, 0o644)
	if err != nil {
		return fmt.Errorf("--pid-file: %w", err)
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	return errors.Join(err, f.Close())
}

// open makes all that can fail.
func open(o *options) (*server, *door.Keyring, error) {
	s := &server{options: o, sessions: map[*session]bool{}, stats: statistics{}, began: time.Now(), left: time.Now(), leaves: make(chan struct{}, 1)}
	var err error
	if s.user, err = findAccount(o.runAs); err != nil {
		return nil, nil, err
	}
	ring, err := o.keyring()
	if err != nil {
		return nil, nil, err
	}
	if s.listener, err = listen(o, ring.Admits()); err != nil {
		return nil, nil, err
	}
	s.host, _, _ = net.SplitHostPort(s.listener.Addr().String())
	s.log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	if o.logJSON {
		s.log = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	s.refused.log = s.log
	return s, ring, s.share()
}

// howToGroup is how a server comes to control groups.
func howToGroup() string {
	if os.Geteuid() == 0 {
		return "let it write to /sys/fs/cgroup"
	}
	return "start it as root, or: systemd-run --user --scope -p Delegate=yes ppserver"
}

// share finds out how clients share this machine.
func (s *server) share() error {
	own, _ := os.ReadFile("/proc/self/cgroup")
	s.groups, s.alone = findGroups("/sys/fs/cgroup", own)
	if s.memory > 0 && !s.groups.have("memory") {
		return fmt.Errorf("--max-memory: needs control groups for memory: %s", howToGroup())
	}
	if !s.groups.have("pids") {
		if s.ByUser = true; !s.count { // what the user has already, outside of this server, would count, too
			s.Processes = 0
		}
	}
	return nil
}

// greet tells who started it what it needs to know.
func (s *server) greet(ring *door.Keyring) {
	at := s.listener.Addr().String()
	defer s.tellSharing()
	fmt.Printf("ppserver on %s, slots: %d, key %s\n", at, s.workers, s.key)
	loopback, how := s.listener.Addr().(*net.TCPAddr).IP.IsLoopback(), " ./prog"
	switch {
	case loopback:
		how = " --local 0 ./prog" // which are the same processors
	case s.announce:
		how = " ./prog, or: pprun --discover ./prog"
	}
	fmt.Printf("use it with: pprun --servers %s%s\n", at, how)
	if loopback {
		fmt.Println("only programs on this machine can; to open it to others: ppserver keygen, then ppserver")
		return
	}
	fmt.Printf("where the keys are others, put into known_servers: %s %s\n", at, door.FormatPublic(ring.Server().Public()))
}

// tellSharing says how clients share this machine.
func (s *server) tellSharing() {
	if s.alone != nil {
		s.log.Info("no control groups: the processes of all clients compete as equals", "why", s.alone, "fix", howToGroup())
	} else {
		s.log.Info("each client has a control group, of the same weight")
	}
}

// obey does what signals say until the server is to end.
func (s *server) obey(signals <-chan os.Signal) {
	clock := time.NewTicker(time.Second)
	defer clock.Stop()
	draining := false
	for {
		select {
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP:
				s.reload()
			case sig == syscall.SIGUSR1:
				os.Stdout.Write(s.table())
			case sig == syscall.SIGTERM && !draining:
				draining = true
				s.takeNoMore()
				s.listener.Close()
				s.log.Info("no new clients: ends with the last one, or by a second TERM")
			default:
				s.takeNoMore()
				s.each((*session).close)
				return
			}
		case <-s.leaves:
		case <-clock.C:
			s.refused.sum()
		}
		if s.isOver(draining) {
			return
		}
	}
}

// isOver says whether the server ends by itself.
func (s *server) isOver(draining bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := len(s.sessions) == 0 && (draining || s.idle > 0 && time.Since(s.left) > s.idle)
	s.ends = s.ends || over
	return over
}

// takeNoMore has clients refused that are on their way in.
func (s *server) takeNoMore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = true
}

// reload reads the keys again.
func (s *server) reload() {
	ring, err := s.keyring()
	if err != nil {
		s.log.Error("keys not read again", "error", err)
		return
	}
	s.door.Replace(ring)
	s.each(func(c *session) {
		if !s.door.Knows(c.client) {
			c.close()
		}
	})
	s.log.Info("keys read again")
}

func (s *server) each(do func(*session)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.sessions {
		do(c)
	}
}

// accept takes connections until the listener is closed.
func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, or the client has left already
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.work.Go(func() { s.meet(conn) })
	}
}

// meet logs a client in and serves it.
func (s *server) meet(conn net.Conn) {
	c := &session{server: s, from: conn.RemoteAddr().String(), began: time.Now(), raw: conn}
	secure, who, err := s.door.Login(conn, func(who door.Client) error { return s.admit(c, who) })
	defer s.leave(c)
	switch {
	case err != nil:
		s.refused.tell(c.from, who.Name, strings.TrimSpace(err.Error()))
	case who.Asks:
		s.answer(secure)
	default:
		c.conn = secure
		s.log.Info("login", c.audit()...)
		how := c.run()
		s.log.Info("end", append(c.audit(), "status", c.job.status, "after", time.Since(c.began).Round(time.Millisecond).String(), "agent", how)...)
	}
}

// admit takes a client in that has proved who it is.
func (s *server) admit(c *session, who door.Client) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.client = who
	switch { // things may have changed since it knocked
	case !s.door.Knows(who):
		return errors.New("it is not let in any more")
	case who.Asks:
		return nil
	case s.ends:
		return errors.New("it takes no new clients, since it is about to end")
	}
	if err := s.room(who); err != nil {
		return err
	}
	s.sessions[c] = true
	s.logins++
	return nil
}

// leave forgets it.
func (s *server) leave(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[c] {
		delete(s.sessions, c)
		s.left = time.Now()
		select {
		case s.leaves <- struct{}{}:
		default:
		}
	}
}
