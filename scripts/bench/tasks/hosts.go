package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// hosts are three hosts of scripts/lab, which end with this process.
type hosts struct {
	state  string // where they keep it, as a variable of the environment
	shared string // directory of this machine that they know as /shared
	exe    string // this program there
	down   func()
}

// upHosts raises them, and copies two programs there.
func upHosts(dir, pprun, exe string) (*hosts, error) {
	h := &hosts{state: "LAB_DIR=" + filepath.Join(dir, "lab"), shared: filepath.Join(dir, "lab", "shared"), exe: "/shared/" + filepath.Base(exe)}
	lab := exec.Command("scripts/lab/lab", "up", "3", "--tied")
	lab.Env, lab.Stderr = append(os.Environ(), h.state), os.Stderr
	in, err := lab.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := lab.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := lab.Start(); err != nil {
		return nil, err
	}
	h.down = func() { in.Close(); lab.Wait() }
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("%w: %w", err, lab.Wait())
	}
	if err := h.copy(pprun, exe); err != nil {
		h.down()
		return nil, err
	}
	return h, nil
}

// pprun is a peer whose rank 0 is on head.
func (h *hosts) pprun(name string, where ...string) *peer {
	p := &peer{name: name, few: few, many: many, chunks: 2 * many, env: []string{h.state}}
	p.command = append([]string{"scripts/lab/lab", "exec", "head", "env", "PPRUN_KEYS=/shared/keys", "/shared/pprun", "-x", p.mark()}, where...)
	p.command = append(p.command, h.exe, "ours")
	return p
}

// onServers are pprun and Parallel Python, each with two servers of its own that have a worker.
func onServers(dir, pprun, exe string) (peers []*peer, down func(), err error) {
	h, err := upHosts(dir, pprun, exe)
	if err != nil {
		return nil, nil, err
	}
	if err := h.serve(); err != nil {
		h.down()
		return nil, nil, err
	}
	theirs := &peer{name: "ppft ppserver", few: 100, many: 400, chunks: 100_000, env: []string{h.state}}
	theirs.command = h.python("head", "/shared/python/farm_ppft_servers.py")
	return []*peer{h.pprun("ppserver", "--servers", "node1*1,node2*1", "--local", "0"), theirs}, h.down, nil
}

func (h *hosts) copy(from ...string) error {
	if out, err := exec.Command("cp", append(append([]string{"-r"}, from...), h.shared)...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// on is a command on a host.
func (h *hosts) on(host string, args ...string) *exec.Cmd {
	cmd := exec.Command("scripts/lab/lab", append([]string{"exec", host}, args...)...)
	cmd.Env = append(os.Environ(), h.state)
	return cmd
}

// python is the command line of a Python program there.
func (h *hosts) python(host string, args ...string) []string {
	return append([]string{"scripts/lab/lab", "exec", host, "env", "PYTHONPATH=/shared/python:/shared/ppft-source", *python}, args...)
}

// serve starts both kinds of servers on node1 and node2, with a worker each. They end with the hosts.
func (h *hosts) serve() error {
	build := exec.Command("go", "build", "-o", filepath.Join(h.shared, "ppserver"), "github.com/pprun/pprun/cmd/ppserver")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build ppserver: %w\n%s", err, out)
	}
	if err := os.CopyFS(h.shared, scripts); err != nil {
		return err
	}
	if *ppft != "" {
		if out, err := exec.Command("cp", "-r", *ppft, filepath.Join(h.shared, "ppft-source")).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	if out, err := h.on("head", "/shared/ppserver", "--keys", "/shared/keys", "keygen").CombinedOutput(); err != nil {
		return fmt.Errorf("keygen: %w: %s", err, out)
	}
	for _, host := range []string{"node1", "node2"} {
		if err := h.on(host, "/shared/ppserver", "--keys", "/shared/keys", "--run-as", "alice", "-w", "1").Start(); err != nil {
			return err
		}
		theirs := h.python(host, "-m", "ppft.server", "-p", "60001", "-w", "1", "-s", "lab")
		if err := h.on(host, theirs[3:]...).Start(); err != nil {
			return err
		}
		for _, port := range []string{"60000", "60001"} {
			if port == "60001" && *ppft == "" {
				continue
			}
			connect := strings.ReplaceAll("for i in $(seq 100); do (exec 3<>/dev/tcp/HOST/PORT) 2>/dev/null && exit; sleep 0.1; done; exit 1", "HOST/PORT", host+"/"+port)
			if out, err := h.on("head", "bash", "-c", connect).CombinedOutput(); err != nil {
				return fmt.Errorf("the server on port %s of %s: %w: %s", port, host, err, out)
			}
		}
	}
	return nil
}
