// Package examples tests the examples, each in all the ways in which a user starts it.
package examples

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pprun/pprun/scripts/lab/labtest"
)

// A program is an example, and what n ranks of it print. A line that ends in "..." stands for all that begin so.
type program struct {
	name  string
	want  func(n int) string
	tasks int // that its statistics count, 0 where that varies
}

var programs = []program{
	{name: "hello", want: func(n int) (s string) {
		for rank := range n {
			s += fmt.Sprintf("hello from rank %d of %d on ...\n", rank, n)
		}
		return s
	}},
	{name: "primes", want: always(primes), tasks: 9},
	{name: "functor", want: always(primes), tasks: 9},
	{name: "callback", want: always("Partial sum is 0.69314720555 ...\n" + statistics), tasks: 128}, // the last digits are the order's
	{name: "dynamicslots", want: always(sums + statistics), tasks: 384},
	{name: "reversemd5", want: always("Reverse md5 for 48ae4d2d384dcc470e471f4169daa96a is 1829182\n" + statistics)},
	{name: "autodiff", want: always(logarithms() + statistics), tasks: 32},
	{name: "quicksort", want: always(sorted + statistics), tasks: 32},
	{name: "pi", want: always("pi is 3.14180 +- 0.00037 after 20000000 darts\n")},
	{name: "ring", want: func(n int) string {
		sum := n * (n - 1) / 2
		return fmt.Sprintf("%d ranks: the token brought %d, AllReduce says %d\n", n, sum, sum)
	}},
	{name: "servers", want: always("pi is about 3.141593\nmachines: ...\n")},
	{name: "cgo", want: always(mandelbrot)},
}

func always(s string) func(int) string { return func(int) string { return s } }

const primes = `Sum of primes below 100 is 1060
Sum of primes below 100000 is 454396537
Sum of primes below 100100 is 454996777
Sum of primes below 100200 is 455898156
Sum of primes below 100300 is 456700218
Sum of primes below 100400 is 457603451
Sum of primes below 100500 is 458407033
Sum of primes below 100600 is 459412387
Sum of primes below 100700 is 460217613
` + statistics

const statistics = `Job execution statistics:
 job count | % of all jobs | job time sum | time per job | job server
0 active tasks, ...
`

const sums = `Starting with 1 slots
Starting with 2 slots
Starting with 4 slots
Starting with 8 slots
Starting with 16 slots
Partial sum is 0.693147205559988 | diff = -2.5000042702671976e-08
`

// logarithms is what Parallel Python's auto_diff.py prints.
func logarithms() (s string) {
	for i := range 32 {
		x := 1 + float64(i)/32
		s += fmt.Sprintf("t_log(%f) = %f, t_log'(%f) = %f\n", x, math.Log(x), x, 1/x)
	}
	return s
}

const sorted = `first 30 numbers in increasing order: [0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1 1 1 1 1 1 1 1 1 1 2 2 2 2 2]
all 1000000 in order: true
`

const mandelbrot = `
     :::--=---===+*#@@#@@@@@@@@@@@#@@@@@@@@@@@@@@@@@@@@@@@@@=--:::::........
     .::::::::----=+=+%#@@@@@@@@@@#@@@@@@@@@@@@@@@@@@@@@@@@@@#-:::::........
`

// check looks for each wanted line in the output of n ranks.
func (p program) check(t *testing.T, out string, n int) {
	t.Helper()
	lines := strings.Split(out, "\n")
	for w := range strings.Lines(p.want(n)) {
		w = strings.TrimSuffix(w, "\n")
		begin, open := strings.CutSuffix(w, " ...")
		if !slices.ContainsFunc(lines, func(l string) bool { return l == w || open && strings.HasPrefix(l, begin) }) {
			t.Errorf("no line %q in the output:\n%s", w, out)
		}
	}
	if got := counted(lines); p.tasks != 0 && got != p.tasks {
		t.Errorf("%d tasks in the statistics, want %d:\n%s", got, p.tasks, out)
	}
}

// counted adds up the job counts of a table of statistics.
func counted(lines []string) (tasks int) {
	for _, line := range lines {
		if first, _, ok := strings.Cut(line, "|"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(first))
			tasks += n
		}
	}
	return tasks
}

// run returns the standard output of a command that must succeed.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd, err, out, stderr.Bytes())
	}
	return string(out)
}

// build compiles packages of this module and returns the directory of their executables.
func build(t *testing.T, packages ...string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...))
	return dir
}

// needs skips a test of a program that this machine cannot build.
func needs(t *testing.T, program string) {
	t.Helper()
	if program != "cgo" {
		return
	}
	if enabled, err := exec.Command("go", "env", "CGO_ENABLED").Output(); err != nil || strings.TrimSpace(string(enabled)) != "1" {
		t.Skip("needs a C compiler and CGO_ENABLED=1")
	}
}

// TestMain reads the tree's directories, so that a cached result holds only while no file has changed.
func TestMain(m *testing.M) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestAlone(t *testing.T) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			needs(t, p.name)
			p.check(t, run(t, exec.Command("go", "run", "./"+p.name)), 1)
		})
	}
}

func TestUnderPprun(t *testing.T) {
	pprun := filepath.Join(build(t, "../cmd/pprun"), "pprun")
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			needs(t, p.name)
			p.check(t, run(t, exec.Command(pprun, "-n", "3", "./"+p.name)), 3)
		})
	}
}

func TestOverSSH(t *testing.T) {
	lab := labtest.Up(t, labtest.Config{Hosts: 2})
	dir := build(t, "../cmd/pprun", "./...")
	pprun := lab.Install("pprun", filepath.Join(dir, "pprun"))
	hosts := lab.HostsFile(2)
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			needs(t, p.name)
			lab := lab.For(t)
			program := lab.Install(p.name, filepath.Join(dir, p.name))
			p.check(t, run(t, lab.Exec("head", pprun, "--hosts", hosts, program)), 4)
		})
	}
}

func TestCgoWithoutCompiler(t *testing.T) {
	cmd := exec.Command("go", "run", "./cgo")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "set CGO_ENABLED=1") {
		t.Errorf("got %v and %q, want a failure that says what to do", err, out)
	}
}
