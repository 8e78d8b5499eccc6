package ssh

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// expand replaces the tokens of ssh_config(5) in a file name or command: %h, %p, %r and so on.
func (s *settings) expand(text string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "%")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if after == "" {
			return "", fmt.Errorf("%q ends in a single %%", text)
		}
		value, err := s.token(after[0])
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		text = after[1:]
	}
}

func (s *settings) token(name byte) (string, error) {
	switch name {
	case '%':
		return "%", nil
	case 'h':
		return s.hostName, nil
	case 'k':
		if s.hostKeyAlias != "" {
			return s.hostKeyAlias, nil
		}
		return s.host, nil
	case 'n':
		return s.host, nil
	case 'p':
		return strconv.Itoa(s.port), nil
	case 'r':
		return s.user, nil
	case 'j':
		return s.proxyJump, nil
	case 'd':
		return os.UserHomeDir()
	case 'i':
		return strconv.Itoa(os.Getuid()), nil
	case 'u':
		u, err := user.Current()
		if err != nil {
			return "", err
		}
		return u.Username, nil
	case 'l', 'L':
		local, err := os.Hostname()
		if name == 'L' {
			local, _, _ = strings.Cut(local, ".")
		}
		return local, err
	}
	return "", fmt.Errorf("token %%%c is not supported", name)
}

// path expands a file name: a leading tilde, ${VARIABLES} and tokens.
func (s *settings) path(name string) (string, error) {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		name = filepath.Join(home, rest)
	}
	if strings.Contains(name, "${") {
		name = os.Expand(name, os.Getenv)
	}
	return s.expand(name)
}

// paths expands file names and leaves out those that cannot be.
func (s *settings) paths(names []string, warn func(string)) []string {
	var all []string
	for _, name := range names {
		path, err := s.path(name)
		if err != nil {
			warn(fmt.Sprintf("file %s of the ssh configuration: %v", name, err))
			continue
		}
		all = append(all, path)
	}
	return all
}
