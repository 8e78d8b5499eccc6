package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pprun/pprun/comm"
	"github.com/pprun/pprun/comm/coll"
	"github.com/pprun/pprun/comm/place"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be pprun. It is pprun's processes on nodes as pprun is: see launch/agent/mode.go.
func TestMain(m *testing.M) {
	if os.Getenv("PPRUN_TEST_MAIN") != "" { // how tests outside of scripts start pprun
		os.Unsetenv("PPRUN_TEST_MAIN")
		main()
	}
	if len(os.Args) > 1 && os.Args[1] == "sharer" {
		beSharer()
	}
	if len(os.Args) > 2 && os.Args[1] == "farm" {
		beFarm(os.Args[2])
	}
	if len(os.Args) > 2 && os.Args[1] == "flood" {
		flood(os.Args[2])
	}
	if len(os.Args) == 2 && os.Args[1] == "discovering" {
		beDiscovering()
	}
	if len(os.Args) > 2 && os.Args[1] == "tasking" {
		beTasking()
	}
	if len(os.Args) > 1 && os.Args[1] == "limited" {
		beLimited()
	}
	if len(os.Args) > 3 && os.Args[1] == "changing" {
		beChanging(os.Args[2:])
	}
	if len(os.Args) > 3 && os.Args[1] == "halfway" {
		beHalfway(os.Args[2:])
	}
	if len(os.Args) > 3 && os.Args[1] == "self" {
		beSelf(os.Args[2:])
	}
	if len(os.Args) > 2 && os.Args[1] == "spinning" {
		d, _ := time.ParseDuration(os.Args[2])
		beSpinning(d)
	}
	if len(os.Args) == 3 && os.Args[1] == "hanging" {
		rank, _ := strconv.Atoi(os.Args[2])
		beHanging(rank)
	}
	if len(os.Args) > 1 && os.Args[1] == "waiting" {
		beWaiting()
	}
	if len(os.Args) > 1 && os.Args[1] == "victim" {
		beVictim(os.Args[2:])
	}
	if len(os.Args) > 1 && os.Args[1] == "carrier" {
		beCarrier()
	}
	if len(os.Args) > 1 && os.Args[1] == "steady" {
		beSteady()
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "attacker" {
		beAttacker(os.Args[2:])
	}
	if len(os.Args) == 6 && os.Args[1] == "cutter" { // cutter HOW AT HOST COMMAND
		at, _ := strconv.Atoi(os.Args[3])
		beCutter(os.Args[2], at, os.Args[5])
	}
	if len(os.Args) > 1 && os.Args[1] == "orphan" {
		beOrphan()
	}
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "-test.") {
		heedSignals()
	}
	testscript.Main(m, map[string]func(){"pprun": main, "deserter": desert, "server": serve, "deadlock": deadlock, "panicker": panicker, "hello": hello})
}

// heedSignals has what tests start get signals that these ignore themselves, as under nohup or in the background of a script.
func heedSignals() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}

// hello says which rank it is.
func hello() {
	c, err := comm.Init(context.Background())
	if err == nil {
		fmt.Printf("rank %d of %d\n", c.Rank(), c.Size())
		err = c.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// deadlock is a rank that waits for the next, which waits too.
func deadlock() {
	c, err := comm.Init(context.Background())
	if err == nil {
		_, err = coll.Recv[int](context.Background(), c, (c.Rank()+1)%c.Size(), 7)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// panicker is a job whose rank 1 panics.
func panicker() {
	if os.Getenv(place.EnvRank) == "1" {
		panic("rank 1 has had enough")
	}
	select {}
}

// desert is a rank that takes its place in the job and ends without leaving it.
func desert() {
	if _, err := place.Take(context.Background(), place.SPMD); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve is a job whose ranks above 0 say that they serve tasks, and end as the first argument tells them, in a shell's
// words; rank 0 prints how they end, and ends itself after as many deaths as the second says.
func serve() {
	rank, _ := strconv.Atoi(os.Getenv(place.EnvRank))
	role := place.Serve
	if rank == 0 {
		role = place.SPMD
	}
	link, err := place.Take(context.Background(), role)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if rank == 0 {
		deaths, _ := strconv.Atoi(os.Args[2])
		died := make(chan place.Death, 100)
		link.Hear(place.Told{Died: func(d place.Death) { died <- d }})
		for range deaths {
			d := <-died
			fmt.Printf("rank %d incarnation %d: %s, stderr %q, final %v\n", d.Rank, d.Incarnation, d.Reason, d.Stderr, d.Final)
		}
		link.Bye()
		return
	}
	cmd := exec.Command("sh", "-c", os.Args[1])
	cmd.Env = append(os.Environ(), fmt.Sprintf("INCARNATION=%d", link.Place.Incarnation), fmt.Sprintf("SERVER=%d", os.Getpid()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 99 {
		os.Exit(code)
	}
	link.Bye()
}

// exits runs a command that has to end with a status: exits 7 pprun ...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS command [args...]")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit status %d, want %s", got, want)
	}
}

// timesout runs a command for TIME in its words, which has to be over as --timeout says, with ever more of it until its
// standard error has what it can only say when ranks have come so far: timesout REGEXP pprun --timeout TIME ...
func timesout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: timesout REGEXP command [args...]")
	}
	said := regexp.MustCompile(args[0])
	for _, long := range []string{"100ms", "2s", "40s"} {
		cmd := []string{"124"}
		for _, arg := range args[1:] {
			cmd = append(cmd, strings.ReplaceAll(arg, "TIME", long))
		}
		if exits(ts, false, cmd); said.MatchString(ts.ReadFile("stderr")) {
			return
		}
	}
	ts.Fatalf("no match for %q, however long it may take", args[0])
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			// Scripts have a home of their own; building should not begin with an empty cache for that.
			if cache, err := os.UserCacheDir(); err == nil {
				e.Setenv("GOCACHE", filepath.Join(cache, "go-build"))
			}
			e.Setenv("GORACE", "atexit_sleep_ms=0")                                                           // else every process takes a second to end
			return errors.Join(os.Chmod(e.WorkDir, 0o755), os.Chmod(filepath.Join(e.WorkDir, ".tmp"), 0o755)) // whatever the umask
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "timesout": timesout},
	})
}
