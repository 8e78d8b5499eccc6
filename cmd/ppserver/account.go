package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// account is whom clients' programs run as.
type account struct {
	credential *syscall.Credential // nil: who runs this
	env        []string
}

// findAccount finds the account of --run-as.
func findAccount(name string) (*account, error) {
	root := os.Getuid() == 0
	switch {
	case root && name == "":
		return nil, errors.New("programs of clients do not run as root: name a user with --run-as")
	case !root && name != "":
		return nil, fmt.Errorf("--run-as %s: only root can become another user", name)
	case name == "":
		return &account{env: keep(keptOwn)}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("--run-as %s: %w", name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	ids, groupsErr := u.GroupIds()
	if err := errors.Join(err, gidErr, groupsErr); err != nil {
		return nil, fmt.Errorf("--run-as %s: %w", name, err)
	}
	if uid == 0 {
		return nil, fmt.Errorf("--run-as %s: is root: programs of clients do not run as root", name)
	}
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			c.Groups = append(c.Groups, uint32(n))
		}
	}
	return &account{c, []string{"HOME=" + u.HomeDir, "USER=" + name, "LOGNAME=" + name, "SHELL=/bin/sh"}}, nil
}

// environ is what its programs find in their environment beside what the client sends.
func (a *account) environ() []string { return append(keep(kept), a.env...) }

// lookup finds a variable of that environment, and uid is whom its programs run as.
func (a *account) lookup(name string) string {
	for _, v := range a.environ() {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

func (a *account) uid() int {
	if a.credential == nil {
		return os.Getuid()
	}
	return int(a.credential.Uid)
}
