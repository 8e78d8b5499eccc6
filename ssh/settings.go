package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// settings is what the configuration says about one host.
type settings struct {
	host     string // as it was given
	hostName string
	user     string
	port     int
	family   string // any, inet, inet6

	connectTimeout time.Duration // 0: not set
	proxyJump      string
	proxyCommand   string

	identityFiles    []string
	certificateFiles []string
	identitiesOnly   bool
	identityAgent    string // "": $SSH_AUTH_SOCK

	userKnownHosts   []string
	globalKnownHosts []string
	hashKnownHosts   bool
	hostKeyAlias     string
	strict           string // yes, ask, accept-new, no

	ciphers []string // nil: no restriction
	kex     []string
}

// loadSettings asks the OpenSSH client for the settings of a host, or reads the files if there is none.
func loadSettings(ctx context.Context, r route, cfg Config) (*settings, error) {
	if err := checkHost(r.host); err != nil {
		return nil, err
	}
	if r.user != "" {
		if err := checkUser(r.user); err != nil {
			return nil, err
		}
	}
	client, err := exec.LookPath("ssh")
	if errors.Is(err, exec.ErrNotFound) {
		return readSettings(r, cfg)
	}
	if err != nil {
		return nil, err
	}
	args := []string{"-G"}
	if cfg.ConfigFile != "" {
		args = append(args, "-F", cfg.ConfigFile)
	}
	if r.user != "" {
		args = append(args, "-l", r.user)
	}
	if r.port != 0 {
		args = append(args, "-p", strconv.Itoa(r.port))
	}
	args = append(args, "--", r.host)
	for {
		out, errOut, err := run(ctx, client, args)
		switch {
		case err == nil:
			return parseSettings(r.host, out)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !errors.Is(err, exec.ErrWaitDelay): // else, on a busy machine, a part of its words may not have been read
			return nil, fmt.Errorf("ssh -G: %w: %s", err, oneLine(errOut))
		}
	}
}

// run runs a command and returns what it wrote to standard output and standard error.
func run(ctx context.Context, name string, args []string) (string, string, error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	return out.String(), errOut.String(), err
}

// parseSettings reads the output of ssh -G: lines of a key in lower case, a blank and the value.
func parseSettings(host, out string) (*settings, error) {
	s := &settings{host: host}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if err := s.set(key, value); err != nil {
			return nil, fmt.Errorf("ssh -G: %s: %w", key, err)
		}
	}
	return s, s.check()
}

func (s *settings) set(key, value string) (err error) {
	none := value == "none"
	switch key {
	case "hostname":
		s.hostName = value
	case "user":
		s.user = value
	case "port":
		s.port, err = strconv.Atoi(value)
	case "addressfamily":
		s.family = value
	case "connecttimeout":
		if !none {
			var seconds int
			seconds, err = strconv.Atoi(value)
			s.connectTimeout = time.Duration(seconds) * time.Second
		}
	case "proxyjump":
		if !none {
			s.proxyJump = value
		}
	case "proxycommand":
		if !none {
			s.proxyCommand = value
		}
	case "identityfile":
		if !none {
			s.identityFiles = append(s.identityFiles, value)
		}
	case "certificatefile":
		if !none {
			s.certificateFiles = append(s.certificateFiles, value)
		}
	case "identitiesonly":
		s.identitiesOnly = isYes(value)
	case "identityagent":
		s.identityAgent = value
	case "userknownhostsfile":
		if !none {
			s.userKnownHosts = strings.Fields(value)
		}
	case "globalknownhostsfile":
		if !none {
			s.globalKnownHosts = strings.Fields(value)
		}
	case "hashknownhosts":
		s.hashKnownHosts = isYes(value)
	case "hostkeyalias":
		s.hostKeyAlias = value
	case "stricthostkeychecking":
		s.strict = value
	case "ciphers":
		s.ciphers = strings.Split(value, ",")
	case "kexalgorithms":
		s.kex = strings.Split(value, ",")
	}
	return err
}

// check refuses what could not have come from a sane configuration: the names go into proxy commands.
func (s *settings) check() error {
	if s.port < 1 || s.port > 65535 {
		return fmt.Errorf("port %d: want 1 to 65535", s.port)
	}
	return errors.Join(checkHost(s.hostName), checkUser(s.user))
}

// acceptNew reports whether unknown host keys are added rather than refused.
func (s *settings) acceptNew() bool {
	return s.strict == "accept-new" || s.strict == "no" || s.strict == "off" || s.strict == "false"
}

func isYes(value string) bool { return value == "yes" || value == "true" }

// oneLine makes the output of a command fit into a message.
func oneLine(s string) string {
	lines := strings.FieldsFunc(strings.TrimSpace(s), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}
