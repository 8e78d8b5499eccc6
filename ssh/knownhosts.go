package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/skeema/knownhosts"
	xssh "golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// loadKnownHosts reads one file; nil if there is none. A line that cannot be read is warned about and
// left out: the library refuses the whole file for it.
func loadKnownHosts(path string, warn func(string)) *knownhosts.HostKeyDB {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		warn(fmt.Sprintf("known hosts are ignored: %v", err))
		return nil
	}
	lines, changed := bytes.Split(text, []byte("\n")), false
	for i, line := range lines {
		lines[i] = normalizeNames(line)
		changed = changed || !bytes.Equal(lines[i], line)
	}
	if !changed {
		if db, err := knownhosts.NewDB(path); err == nil {
			return db
		}
	}
	db, err := loadLines(path, lines, warn)
	if err != nil {
		warn(fmt.Sprintf("%s is ignored: %v", path, err))
		return nil
	}
	return db
}

var namesOfLine = regexp.MustCompile(`^[ \t]*(?:@[^ \t]+[ \t]+)?([^ \t|#@][^ \t]*)`)

// trailingStars finds the end of a pattern that also matches where its last * stands for nothing, in brackets or not.
var trailingStars = regexp.MustCompile(`^(!?\[?.*[^*!\[])\*+(\]:\d+)?$`)

// normalizeNames rewrites the names of hosts in a line so that the library reads them as ssh does. To the library capitals
// are other letters, a * at the end is at least one character, and names that to ssh match nothing are errors or hosts with
// ports.
func normalizeNames(line []byte) []byte {
	m := namesOfLine.FindSubmatchIndex(line)
	if m == nil {
		return line
	}
	var names [][]byte
	for _, name := range bytes.Split(line[m[2]:m[3]], []byte(",")) {
		if !isHostName(string(bytes.TrimPrefix(name, []byte("!")))) {
			name = nil
		}
		names = append(names, name)
		if stars := trailingStars.FindSubmatch(name); stars != nil {
			names = append(names, slices.Concat(stars[1], stars[2]))
		}
	}
	normal := lower(bytes.Join(names, []byte(",")))
	if len(normal) == 0 {
		normal = []byte(",") // no name at all would be an error
	}
	return slices.Concat(line[:m[2]], normal, line[m[3]:])
}

// isHostName reports whether ssh may find a host of this name: ports stand behind brackets, and nowhere else.
func isHostName(name string) bool {
	_, _, err := net.SplitHostPort(name)
	return name != "" && strings.HasPrefix(name, "[") == (err == nil)
}

// lower makes the letters of ASCII lower case.
func lower(s []byte) []byte {
	for i, c := range s {
		if 'A' <= c && c <= 'Z' {
			s[i] += 'a' - 'A'
		}
	}
	return s
}

var lineOfError = regexp.MustCompile(`:(\d+): (.*)`)

// loadLines loads lines without those that the library complains of. They become blank, so that the others keep their
// numbers.
func loadLines(path string, lines [][]byte, warn func(string)) (*knownhosts.HostKeyDB, error) {
	copied, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return nil, err
	}
	defer os.Remove(copied.Name())
	copied.Close()
	for {
		if err := os.WriteFile(copied.Name(), bytes.Join(lines, []byte("\n")), 0o600); err != nil {
			return nil, err
		}
		db, complaint := knownhosts.NewDB(copied.Name())
		if complaint == nil {
			return db, nil
		}
		m := lineOfError.FindStringSubmatch(complaint.Error())
		if m == nil {
			return nil, complaint
		}
		n, err := strconv.Atoi(m[1])
		if err != nil || n < 1 || n > len(lines) || len(lines[n-1]) == 0 {
			return nil, complaint
		}
		warn(fmt.Sprintf("%s:%d is ignored: %s", path, n, m[2]))
		lines[n-1] = nil
	}
}

// add appends an unknown key to the user's file, which is locked meanwhile. The file is read again under
// the lock: another process may have added a key just now, and it may be a different one.
func (k *hostKeys) add(ctx context.Context, key xssh.PublicKey) error {
	if err := os.MkdirAll(filepath.Dir(k.writeTo), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(k.writeTo, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("new key cannot be added: %w", err)
	}
	defer f.Close() // unlocks
	if err := lock(ctx, f); err != nil {
		return fmt.Errorf("lock %s: %w", k.writeTo, err)
	}
	now := *k
	now.acceptNew = false
	now.files = nil
	if db := loadKnownHosts(k.writeTo, func(string) {}); db != nil {
		now.files = append(now.files, knownHostsFile{k.writeTo, db})
	}
	if err := now.check(ctx, key); !isUnknownKey(err) {
		return err
	}
	name := knownhosts.Normalize(k.address)
	if k.hash {
		name = xknownhosts.HashHostname(name)
	}
	line := fmt.Sprintf("%s %s", name, xssh.MarshalAuthorizedKey(key))
	if !endsLine(f) {
		line = "\n" + line
	}
	if _, err := f.WriteString(line); err != nil {
		return fmt.Errorf("new key cannot be added: %w", err)
	}
	k.warn(fmt.Sprintf("%s: new host key %s %s added to %s", k.host, key.Type(), xssh.FingerprintSHA256(key), k.writeTo))
	return nil
}

// lock waits until this process alone holds f. It asks again and again rather than wait in the kernel, so
// that ctx can end it.
func lock(ctx context.Context, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// endsLine reports whether f is empty or ends in a newline.
func endsLine(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return true
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, st.Size()-1)
	return err != nil || last[0] == '\n'
}
