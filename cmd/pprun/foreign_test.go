package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// emulate makes a host of the lab run arm64 programs, in a binfmt_misc that only the lab has. $1 is the emulator.
const emulate = `mkdir -p /tmp/binfmt && mount -t binfmt_misc none /tmp/binfmt &&
printf '%s' ":arm64:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:$1:OCPF" >/tmp/binfmt/register`

// cross builds a Go program as pprun does.
func cross(t *testing.T, arch, dir, pkg string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), arch)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, said)
	}
	return out
}

// goEnv is the go command's answer.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// node2 is an arm64 machine to whoever asks: uname, pprun's agent and the ranks there are arm64 programs under an
// emulator, its shell and sshd are not.
func TestForeign(t *testing.T) {
	const qemu = "qemu-aarch64-static"
	emulator, err := exec.LookPath(qemu)
	if err != nil {
		t.Skip("no " + qemu)
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("needs an amd64 machine")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	module, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(module, "cmd", "pprun", "testdata", "foreign")
	show := []string{module, goEnv(t, "GOCACHE"), goEnv(t, "GOMODCACHE"), goEnv(t, "GOROOT")}
	l := lab{Lab: labtest.Up(t, labtest.Config{Hosts: 2, Mode: labtest.UserNS, Show: show}), t: t}
	l.pprun, l.hosts = l.Install("pprun", exe), l.HostsFile(2)
	uname := l.Install("uname", cross(t, "arm64", dir, "./uname"))
	said, err := l.Exec("node2", "sh", "-c", emulate, "sh", emulator).CombinedOutput()
	if err != nil {
		t.Skipf("no binfmt_misc of one's own, as Linux 6.7 has it: %s", said)
	}
	l.Output("node2", "mount", "--bind", uname, "/usr/bin/uname")
	if got := l.Output("head", "ssh", "node2", "uname -sm"); got != "Linux aarch64" {
		t.Fatalf("uname says %q", got)
	}
	agent := cross(t, "arm64", module, "./cmd/pprun")
	amd64, arm64 := cross(t, "amd64", dir, "./partner"), cross(t, "arm64", dir, "./partner")
	partner, partnerARM := l.Install("partner", amd64), l.Install("partner-arm64", arm64)
	const up = `^pprun: 4 ranks on 2 nodes \(node1:2 node2:2\), `
	both := func(t *testing.T, r result) {
		t.Helper()
		if r.stdout != "[linux/amd64 linux/amd64 linux/arm64 linux/arm64]\n" {
			t.Errorf("stdout %q", r.stdout)
		}
	}

	t.Run("no agent", func(t *testing.T) {
		l.in(t).run("true").want(t, 125, `^pprun: node2: is linux/arm64, this pprun is linux/amd64: want pprun for linux/arm64 in /shared/pprun-linux-arm64 \(no go command on PATH to build it\)\n$`)
	})
	t.Run("from source", func(t *testing.T) {
		l := l.in(t)
		goCache := goEnv(t, "GOCACHE") // made writable in the lab
		l.Output("head", "sh", "-c", `mkdir /tmp/upper /tmp/work && mount -t overlay -o lowerdir="$1",upperdir=/tmp/upper,workdir=/tmp/work,userxattr overlay "$1"`, "sh", goCache)
		goBin := filepath.Join(goEnv(t, "GOROOT"), "bin")
		args := []string{"PATH=" + goBin + ":/usr/bin:/bin", "GOCACHE=" + goCache, "GOMODCACHE=" + goEnv(t, "GOMODCACHE"), "GOFLAGS=-buildvcs=false",
			l.pprun, "--hosts", l.hosts, "-v", filepath.Join(dir, "partner")}
		r := l.finish(l.Exec("head", "env", args...))
		r.want(t, 0, up+`.* 2 copied 0 cached`)
		both(t, r)
		if kept := l.Output("head", "sh", "-c", "ls ~/.cache/pprun"); !strings.HasPrefix(kept, "pprun-linux-arm64-") {
			t.Errorf("the cache holds %q", kept)
		}
		l.Output("head", "sh", "-c", "rm -r ~/.cache/pprun")
	})
	l.Install("pprun-linux-arm64", agent)
	t.Run("beside pprun", func(t *testing.T) {
		r := l.in(t).run("uname", "-sm")
		r.want(t, 0, `^$`)
		if strings.Count(r.stdout, "Linux x86_64\n") != 2 || strings.Count(r.stdout, "Linux aarch64\n") != 2 {
			t.Errorf("stdout:\n%s", r.stdout)
		}
	})
	t.Run("warm", func(t *testing.T) {
		l := l.in(t)
		const inode = "find ~/.cache/pprun /var/tmp/pprun-* -name 'agent-*' -printf '%i ' 2>/dev/null"
		before := l.Output("head", "ssh", "node2", inode+"; true")
		l.run("true").want(t, 0, `^$`)
		if after := l.Output("head", "ssh", "node2", inode+"; true"); after != before || after == "" {
			t.Errorf("the agents were %s, now %s", before, after)
		}
	})
	t.Run("program does not fit", func(t *testing.T) {
		l.in(t).run(partner).want(t, 126, `^pprun: node2: /shared/partner is linux/amd64, the node is linux/arm64: build it for that platform and add --bin linux/arm64=PATH\n$`)
	})
	t.Run("bin", func(t *testing.T) {
		l := l.in(t)
		r := l.run("-v", "--bin", "linux/arm64="+partnerARM, partner)
		r.want(t, 0, up)
		both(t, r)
		r = l.run("-v", "--bin", "linux/arm64="+partnerARM, partner)
		r.want(t, 0, up+`0 copied 2 cached`)
		both(t, r)
		l.run("--bin", "linux/arm64="+partner, partner).want(t, 64, `^pprun: --bin linux/arm64=/shared/partner: is built for linux/amd64\n$`)
	})
	t.Run("self", func(t *testing.T) {
		l := l.in(t)
		l.finish(l.Exec("head", partner, l.hosts)).want(t, 125, `^pprun: node2: is linux/arm64, .* in /shared/partner-linux-arm64 `)
		l.Output("head", "mv", partnerARM, partner+"-linux-arm64")
		r := l.finish(l.Exec("head", partner, l.hosts))
		r.want(t, 0, `^$`)
		if r.stdout != "[linux/amd64 linux/amd64 linux/amd64 linux/arm64 linux/arm64]\n" {
			t.Errorf("stdout %q", r.stdout)
		}
	})
	t.Run("kill", func(t *testing.T) {
		l := l.in(t)
		cmd := l.Exec("head", l.pprun, "--hosts", l.hosts, "sleep", "1234")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		l.awaitOn("node2", 2, func(p labtest.Process) bool { return slices.Contains(p.Args, "1234") })
		l.awaitOn("node2", 1, func(p labtest.Process) bool { return slices.Contains(p.Args, "guard") })
		cmd.Process.Kill()
		cmd.Wait()
		l.WaitGone("node2", func(p labtest.Process) bool {
			return slices.Contains(p.Args, "1234") || slices.Contains(p.Args, "agent") || slices.Contains(p.Args, "guard")
		}, 10*time.Second)
	})
}
