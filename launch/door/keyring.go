package door

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A Keyring is what a directory holds of keys, for servers and clients alike. Files that are not there are empty.
//
//	server.key          private key of the ppservers of this user
//	client.key          private key of this user's programs
//	authorized_clients  who may use the servers: a public key in each line, and a comment
//	known_servers       servers that clients trust: host:port, or * for all, and a public key in each line
//	secret              one or two shared secrets, each with expires=TIME or not
//	secret.loopback     that of a server without keys, as long as it runs
type Keyring struct {
	Dir string

	server, client *Key
	clients        map[string]string // comment by public key
	secrets        []secret
	loopback       []secret
	lasting        []secret // of them, that which OpenLoopback has made count

	mu      sync.Mutex // guards what follows, and the file
	servers map[string]ed25519.PublicKey
}

// Names of the files.
const (
	serverFile   = "server.key"
	clientFile   = "client.key"
	clientsFile  = "authorized_clients"
	serversFile  = "known_servers"
	secretFile   = "secret"
	loopbackFile = "secret.loopback"
)

// DefaultDir is where keys are: PPRUN_KEYS, else pprun in the user's directory of configuration.
func DefaultDir() (string, error) {
	if dir := os.Getenv("PPRUN_KEYS"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no directory of keys: %w: set PPRUN_KEYS", err)
	}
	return filepath.Join(dir, "pprun"), nil
}

// Open reads a keyring, all of which must be the user's own.
func Open(dir string) (*Keyring, error) {
	r := &Keyring{Dir: dir}
	var text string
	var err error
	if r.server, err = r.readKey(serverFile); err != nil {
		return nil, err
	}
	if r.client, err = r.readKey(clientFile); err != nil {
		return nil, err
	}
	if r.clients, err = r.readClients(); err != nil {
		return nil, err
	}
	if r.servers, err = r.readServers(); err != nil {
		return nil, err
	}
	for file, to := range map[string]*[]secret{secretFile: &r.secrets, loopbackFile: &r.loopback} {
		if text, err = r.read(file, private); err != nil {
			return nil, err
		}
		if *to, err = parseSecrets(text); err != nil {
			return nil, fmt.Errorf("%s: %w", r.path(file), err)
		}
	}
	return r, nil
}

func (r *Keyring) path(file string) string { return filepath.Join(r.Dir, file) }

func (r *Keyring) read(file string, forbidden fs.FileMode) (string, error) {
	b, err := readOwn(r.path(file), forbidden)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

func (r *Keyring) readKey(file string) (*Key, error) {
	text, err := r.read(file, private)
	if err != nil || text == "" {
		return nil, err
	}
	k, err := decodeKey([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.path(file), err)
	}
	return k, nil
}

func (r *Keyring) readClients() (map[string]string, error) {
	text, err := r.read(clientsFile, public)
	all := map[string]string{}
	for n, line := range lines(text) {
		key, comment, err := ParsePublic(line)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", r.path(clientsFile), n, err)
		}
		all[string(key)] = comment
	}
	return all, err
}

func (r *Keyring) readServers() (map[string]ed25519.PublicKey, error) {
	text, err := r.read(serversFile, public)
	all := map[string]ed25519.PublicKey{}
	for n, line := range lines(text) {
		name, rest, _ := strings.Cut(line, " ")
		key, _, err := ParsePublic(rest)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", r.path(serversFile), n, err)
		}
		all[name] = key
	}
	return all, err
}

// pin is the key that a server must have, nil if that is not known.
func (r *Keyring) pin(address string) ed25519.PublicKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key, ok := r.servers[address]; ok {
		return key
	}
	return r.servers["*"]
}

// Server is the key of the servers, nil without one.
func (r *Keyring) Server() *Key { return r.server }

// Admits says whether anybody could come in from another machine.
func (r *Keyring) Admits() bool { return len(r.clients) > 0 || len(r.secrets) > 0 }

// Generate makes the keys that are missing: one for servers and one for clients, who know each other from then on. With
// withSecret it also makes a secret. It returns the files it made.
func (r *Keyring) Generate(withSecret bool) (made []string, err error) {
	if made, err = r.makeKey(made, serverFile, &r.server); err != nil {
		return made, err
	}
	if made, err = r.makeKey(made, clientFile, &r.client); err != nil {
		return made, err
	}
	if err := r.Authorize(r.client.Public(), "made by ppserver keygen"); err != nil {
		return made, err
	}
	if r.servers["*"] == nil {
		if err := r.know("*", r.server.Public()); err != nil {
			return made, err
		}
	}
	if withSecret && len(r.secrets) == 0 {
		if err := createOwn(r.path(secretFile), []byte(newSecret()+"\n")); err != nil {
			return made, err
		}
		made = append(made, r.path(secretFile))
	}
	return made, nil
}

// makeKey makes a key, if it is not there, and adds its file to those that were made.
func (r *Keyring) makeKey(made []string, file string, key **Key) ([]string, error) {
	if *key != nil {
		return made, nil
	}
	k, err := NewKey()
	if err != nil {
		return made, err
	}
	b, err := k.encode()
	if err != nil {
		return made, err
	}
	if err := createOwn(r.path(file), b); err != nil {
		return made, err
	}
	*key = k
	return append(made, r.path(file)), nil
}

// Authorize lets the holder of a key in.
func (r *Keyring) Authorize(client ed25519.PublicKey, comment string) error {
	if _, ok := r.clients[string(client)]; ok {
		return nil
	}
	r.clients[string(client)] = comment
	return appendOwn(r.path(clientsFile), strings.TrimSpace(FormatPublic(client)+" "+comment))
}

// Client is the key of this user's programs, nil without one.
func (r *Keyring) Client() *Key { return r.client }

// know pins the key of a server.
func (r *Keyring) know(name string, key ed25519.PublicKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.servers[name] = key
	return appendOwn(r.path(serversFile), name+" "+FormatPublic(key))
}
