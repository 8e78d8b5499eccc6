package ssh

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pprun/pprun/scripts/bounded"
	xssh "golang.org/x/crypto/ssh"
)

// FuzzKnownHosts asks both us and ssh-keygen -F whether a line of known_hosts is about a host.
func FuzzKnownHosts(f *testing.F) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		f.Skip("no ssh-keygen")
	}
	signer, _ := newKey(f)
	key := strings.TrimSpace(string(xssh.MarshalAuthorizedKey(signer.PublicKey())))
	for _, names := range []string{"node1", "NODE1", "node1,node2", "node*", "!node2,node*", "node?", "*", "!*", "[node1]:22", "[node1]:2222", "n*de1", "node1.", "10.0.0.1", "*,!node1", "", ",", "!", "!,*", "*,!,node2", "node1*", "node1**", "*node1*", "!node1*,*", "node?*", "[node1*]:2222", "[node1,node1", "node1:22", "![node1,*", "::1,node1", "#node1", "|1|x|y"} {
		f.Add(names, "node1")
	}
	path := filepath.Join(f.TempDir(), "known_hosts")
	f.Fuzz(func(t *testing.T, names, host string) {
		defer bounded.Memory(t)()
		// To ssh [host]:22 is no name, to us it is host.
		if !hostName(host) || strings.ContainsAny(names, "\n\x00") || strings.Contains(names, "]:22") {
			return
		}
		if err := os.WriteFile(path, []byte(names+" "+key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		theirs := exec.Command(keygen, "-F", host, "-f", path).Run() == nil
		k := &hostKeys{host: host, address: strings.ToLower(host) + ":22", warn: func(string) {}}
		if db := loadKnownHosts(path, func(string) {}); db != nil {
			k.files = append(k.files, knownHostsFile{path, db})
		}
		ours := k.lookup(signer.PublicKey()) == nil
		if ours != theirs {
			t.Errorf("%q for %q: ours %v, ssh-keygen %v", names, host, ours, theirs)
		}
	})
}

// hostName says whether s is a name that hostfile lets through.
func hostName(s string) bool {
	for _, r := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return false
		}
	}
	return s != "" && s[0] != '-' && len(s) < 200
}
