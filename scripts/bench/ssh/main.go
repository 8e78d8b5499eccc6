// Command ssh compares pprun's own ssh with OpenSSH, interleaved in one run: connecting to hosts of scripts/lab, and
// sending 200 MB to one.
//
//	go run ./scripts/bench/ssh [-rounds 9]
//
// It needs root for the hosts. The user is an ordinary one with a plain shell and no start-up files to speak of. What
// OpenSSH does by default stands beside what it does with the key exchange and cipher that pprun's settles for.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pprun/pprun/scripts/bench/bench"
	"github.com/pprun/pprun/ssh"
)

const (
	size  = 200_000_000
	hosts = 16
	limit = time.Minute

	sameConnect = "-oKexAlgorithms=curve25519-sha256"
	sameUpload  = "-oCiphers=aes128-gcm@openssh.com"
)

var (
	rounds = flag.Int("rounds", 9, "rounds of each comparison")
	upload = flag.String("upload", "", "send standard input to the file f on this host, and end (for this program's own use)")
)

func main() {
	flag.Parse()
	var err error
	if *upload != "" {
		err = send(*upload)
	} else {
		err = bench.WithLab(hosts, "alice", run)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(lab *bench.Lab, pprun string) error {
	for i := range hosts {
		if err := lab.Do("shell", fmt.Sprintf("node%d", i+1), "alice", "dash"); err != nil {
			return err
		}
	}
	if err := connect(lab, pprun); err != nil {
		return err
	}
	return transfer(lab, pprun)
}

// connect measures from the start of the command to its end. --dry-run asks agents for their CPUs and starts nothing.
func connect(lab *bench.Lab, pprun string) error {
	all := fmt.Sprintf("node[1-%d]", hosts)
	each := func(options string) []string {
		return []string{"sh", "-c", fmt.Sprintf("for i in $(seq %d); do ssh %s node$i true & done; wait", hosts, options)}
	}
	if _, err := lab.Run(limit, pprun, "--host", all, "true"); err != nil { // copies pprun to the hosts
		return err
	}
	fmt.Printf("\nconnect, authenticate, hear from the agent: one host, warm\n")
	bench.Print(os.Stdout, "ms", bench.Compare(*rounds, []bench.Entry{
		lab.Entry("pprun", limit, pprun, "--host", "node1", "--dry-run", "true"),
		lab.Entry("ssh", limit, "ssh", "node1", "true"),
		lab.Entry("ssh, same kex", limit, "ssh", sameConnect, "node1", "true"),
	}))
	fmt.Printf("\nthe same, %d hosts at once\n", hosts)
	bench.Print(os.Stdout, "ms", bench.Compare(*rounds, []bench.Entry{
		lab.Entry("pprun", limit, pprun, "--host", all, "--dry-run", "true"),
		lab.Entry("ssh", limit, each("")...),
		lab.Entry("ssh, same kex", limit, each(sameConnect)...),
	}))
	return nil
}

// transfer measures from the start of the command to its end, too: with bytes that nothing can compress, and with those of
// Go's own executables.
func transfer(lab *bench.Lab, pprun string) error {
	self, err := lab.InstallSelf()
	if err != nil {
		return err
	}
	if err := lab.Do("fs", "node1", "/home", "size=2g"); err != nil {
		return err
	}
	executables, err := programs()
	if err != nil {
		return err
	}
	for name, content := range map[string]io.Reader{"noise": rand.NewChaCha8([32]byte{}), "programs": executables} {
		if err := create(filepath.Join(lab.Shared(), name), content); err != nil {
			return err
		}
		file := "/shared/" + name
		rate := func(name string, argv ...string) bench.Entry {
			e := lab.Entry(name, limit, argv...)
			milliseconds := e.Run
			e.Run = func() (float64, error) {
				took, err := milliseconds()
				return size / 1e3 / took, err
			}
			return e
		}
		shell := func(name, line string) bench.Entry { return rate(name, "sh", "-c", line) }
		fmt.Printf("\n200 MB of %s to a file on one host\n", name)
		bench.Print(os.Stdout, "MB/s", bench.Compare(*rounds, []bench.Entry{
			rate("pprun", pprun, "--host", "node1:1", "--stage", file, "true"),
			shell("package ssh", self+" -upload node1 <"+file),
			shell("ssh", "ssh node1 'cat >f' <"+file),
			shell("ssh, same cipher", "ssh "+sameConnect+" "+sameUpload+" node1 'cat >f' <"+file),
			rate("scp", "scp", "-q", file, "node1:f"),
			rate("scp, same cipher", "scp", "-q", sameConnect, sameUpload, file, "node1:f"),
		}))
	}
	return nil
}

// programs are the executables of the Go tool chain, one after the other, again and again: farther apart than zstd looks.
func programs() (io.Reader, error) {
	dir, err := exec.Command("go", "env", "GOTOOLDIR").Output()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "*"))
	if err != nil {
		return nil, err
	}
	var all []byte
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return bytes.NewReader(bytes.Repeat(all, size/max(1, len(all))+1)), nil
}

func create(path string, content io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(f, content, size)
	return err
}

// send is the bare package ssh.
func send(host string) error {
	ctx := context.Background()
	c, err := ssh.Dial(ctx, host, ssh.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Start(ctx, "cat >f")
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{s}, os.Stdin, make([]byte, 1<<20)); err != nil {
		return err
	}
	s.CloseWrite()
	if err := s.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(s.Stderr()))
	}
	return nil
}
