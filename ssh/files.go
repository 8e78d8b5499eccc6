package ssh

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

const systemConfig = "/etc/ssh/ssh_config"

// readSettings reads the configuration files without an OpenSSH client. The parser knows no Match and no
// tokens; a file it cannot read counts as empty, with a warning.
func readSettings(r route, cfg Config) (*settings, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	var files []*ssh_config.Config
	switch cfg.ConfigFile {
	case "none":
	case "":
		files = append(files, decodeConfig(filepath.Join(home, ".ssh/config"), cfg), decodeConfig(systemConfig, cfg))
	default:
		files = append(files, decodeConfig(cfg.ConfigFile, cfg))
	}
	s := &settings{
		host: r.host, hostName: r.host, port: 22,
		globalKnownHosts: []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"},
		userKnownHosts:   []string{filepath.Join(home, ".ssh/known_hosts"), filepath.Join(home, ".ssh/known_hosts2")},
	}
	for _, key := range []string{
		"HostName", "User", "Port", "AddressFamily", "ConnectTimeout", "ProxyJump", "ProxyCommand", "IdentityFile",
		"CertificateFile", "IdentitiesOnly", "IdentityAgent", "UserKnownHostsFile", "GlobalKnownHostsFile",
		"HashKnownHosts", "HostKeyAlias", "StrictHostKeyChecking",
	} {
		for _, value := range lookup(files, r.host, key) {
			if err := s.set(strings.ToLower(key), value); err != nil {
				cfg.warn(fmt.Sprintf("ssh configuration: %s %s for %s: %v", key, value, r.host, err))
			}
		}
	}
	if s.identityFiles == nil {
		for _, name := range []string{"id_rsa", "id_ecdsa", "id_ed25519"} {
			s.identityFiles = append(s.identityFiles, "~/.ssh/"+name)
		}
	}
	if r.user != "" {
		s.user = r.user
	}
	if s.user == "" {
		u, err := user.Current()
		if err != nil {
			return nil, err
		}
		s.user = u.Username
	}
	if r.port != 0 {
		s.port = r.port
	}
	s.userKnownHosts = s.paths(s.userKnownHosts, cfg.warn)
	host, err := (&settings{hostName: r.host}).expand(s.hostName)
	if err != nil {
		return nil, fmt.Errorf("HostName %s: %w", s.hostName, err)
	}
	s.hostName = host
	return s, s.check()
}

func decodeConfig(path string, cfg Config) *ssh_config.Config {
	f, err := os.Open(path)
	if err != nil {
		if !os.IsNotExist(err) || path == cfg.ConfigFile {
			cfg.warn(fmt.Sprintf("ssh configuration is ignored: %v", err))
		}
		return &ssh_config.Config{}
	}
	defer f.Close()
	c, err := ssh_config.Decode(f)
	if err != nil {
		cfg.warn(fmt.Sprintf("ssh configuration %s is ignored, without an OpenSSH client it cannot be read: %v", path, err))
		return &ssh_config.Config{}
	}
	return c
}

// lookup returns the first value that is set, or all of them for keys that may be repeated.
func lookup(files []*ssh_config.Config, host, key string) []string {
	var all []string
	for _, f := range files {
		values, err := f.GetAll(host, key)
		if err == nil {
			all = append(all, values...)
		}
	}
	if key != "IdentityFile" && key != "CertificateFile" && len(all) > 1 {
		all = all[:1]
	}
	for i, value := range all {
		if unquoted, err := strconv.Unquote(value); err == nil {
			all[i] = unquoted
		}
	}
	return all
}
