//go:build linux

package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// TestPassphrase logs in to two hosts with one encrypted key, at a terminal: pprun asks once, on the terminal, and leaves
// standard input to rank 0.
func TestPassphrase(t *testing.T) {
	up := labtest.Up(t, labtest.Config{Hosts: 2})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := lab{up, t, up.Install("pprun", exe), ""}
	key := l.Path("encrypted")
	l.Output("head", "sh", "-c", `cp ~/.ssh/id_ed25519 "$0" && chmod 600 "$0" && ssh-keygen -q -p -a 1 -N secret -f "$0"`, key)
	config := l.file("conf", "IdentityFile "+key+"\nIdentitiesOnly yes\nInclude ~/.ssh/config\n")
	const prompt = `Passphrase of key \S+/encrypted: `
	at := func(t *testing.T, shell string) *terminal {
		cmd := l.in(t).Exec("head", "sh", "-c", shell, l.pprun, "-q", "-F", config, "--host", "node1:1,node2:1", "--label", "host",
			"sh", "-c", `echo rank; if [ $PPRUN_RANK = 0 ]; then read line; echo "got $line"; fi`)
		return atTerminal(t, append([]string{"env", "LAB_DIR=" + l.Dir()}, cmd.Args...)...)
	}
	once := func(s *terminal) {
		s.t.Helper()
		if n := strings.Count(s.shown(), "Passphrase of key"); n != 1 {
			s.t.Errorf("asked %d times:\n%s", n, s.shown())
		}
		if strings.Contains(s.shown(), "secret") {
			s.t.Errorf("the passphrase is shown:\n%s", s.shown())
		}
	}
	t.Run("two hosts", func(t *testing.T) {
		s := at(t, `exec "$0" "$@"`)
		s.await(prompt, 1)
		s.write("secret\r")
		s.await(`\[node\d\] rank`, 2)
		s.write("hello\n")
		s.await(`\[node1\] got hello`, 1)
		s.exit(0)
		once(s)
	})
	t.Run("the person takes longer than --start-timeout", func(t *testing.T) {
		s := at(t, `shift; exec "$0" --start-timeout 3s "$@"`) // without -q
		s.await(prompt, 1)
		time.Sleep(3500 * time.Millisecond)
		if !strings.HasSuffix(s.shown(), "encrypted: ") {
			t.Errorf("the terminal shows more than the question:\n%s", s.shown())
		}
		s.write("secret\r")
		s.await(`\[node\d\] rank`, 2)
		s.write("hello\n")
		s.exit(0)
		once(s)
	})
	t.Run("in the background", func(t *testing.T) {
		s := at(t, `set -m; "$0" "$@" & wait $!; echo "status $?"`)
		s.await(`authenticate: key \S+/encrypted: it is encrypted: there is no terminal to ask for its passphrase on: load it into an agent first: ssh-add `, 1)
		s.await("status 125", 1)
	})
	t.Run("stdin is a pipe", func(t *testing.T) {
		s := at(t, `echo piped | "$0" "$@"`)
		s.await(prompt, 1)
		s.write("secret\r")
		s.await(`\[node1\] got piped`, 1)
		s.exit(0)
		once(s)
	})
	t.Run("wrong", func(t *testing.T) {
		s := at(t, `exec "$0" "$@"`)
		for n, try := range []string{"no", "secret?", "SECRET"} {
			s.await(prompt, n+1)
			s.write(try + "\r")
		}
		s.await(`pprun: node\[1-2\]: authenticate: key \S+/encrypted: wrong passphrase, three times: try again, or load it into an agent: ssh-add `, 1)
		s.exit(125)
	})
	t.Run("none given", func(t *testing.T) {
		s := at(t, `exec "$0" "$@"`)
		s.await(prompt, 1)
		s.write(ctrlC)
		s.await(`(?m)^pprun: node\[1-2\]: authenticate: key \S+/encrypted: `, 1)
		s.exit(125)
		once(s)
	})
}
