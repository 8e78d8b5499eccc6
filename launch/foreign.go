package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pprun/pprun/launch/agent"
	"github.com/pprun/pprun/launch/own"
)

// pprun itself: the module, and the command in it that is the agent.
const (
	ownModule  = "github.com/pprun/pprun"
	ownCommand = "./cmd/pprun"
)

// foreign are the agents for other platforms that this process has looked for.
var foreign = struct {
	slot chan struct{} // held while one is looked for: others of the kind wait for what it finds
	mu   sync.Mutex
	all  map[platform]found // guarded by mu
	next platform           // guarded by mu: the one that is built; the zero value: none is
}{slot: make(chan struct{}, 1), all: map[platform]found{}}

type found struct {
	agent *executable
	err   error
}

// agentFor returns pprun for a platform: this executable, or one that is built from our source where that is at hand, or
// the file that lies beside this one, see beside. alive is called while that takes time.
func agentFor(ctx context.Context, p platform, alive func()) (*executable, error) {
	if f, ok := foundAgent(p); ok {
		return f.agent, f.err
	}
	defer every(time.Second, alive)()
	select {
	case foreign.slot <- struct{}{}:
		defer func() { <-foreign.slot }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f, ok := foundAgent(p)
	if ok {
		return f.agent, f.err
	}
	f.agent, f.err = foreignAgent(ctx, p)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	foreign.mu.Lock()
	defer foreign.mu.Unlock()
	foreign.all[p] = f
	return f.agent, f.err
}

// foundAgent is what agentFor knows without looking for it.
func foundAgent(p platform) (f found, ok bool) {
	if p == ownPlatform {
		f.agent, f.err = ownAgent()
		return f, true
	}
	foreign.mu.Lock()
	defer foreign.mu.Unlock()
	f, ok = foreign.all[p]
	return f, ok
}

// every calls f again and again until the function that it returns is called.
func every(d time.Duration, f func()) (stop func()) {
	t, end := time.NewTicker(d), make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-t.C:
				f()
			case <-end:
				return
			}
		}
	})
	return func() {
		t.Stop()
		close(end)
		done.Wait()
	}
}

func foreignAgent(ctx context.Context, p platform) (*executable, error) {
	e, buildErr := buildAgent(ctx, p)
	if buildErr == nil {
		return e, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file := p.beside(self)
	h, err := siblingHeader(self, p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("is %v, this pprun is %v: want pprun for %v in %s (%w)", p, ownPlatform, p, file, buildErr)
	case err != nil:
		return nil, fmt.Errorf("is %v: %s: %w", p, file, reason(err))
	case h.Script || h.OS != p.OS || h.Arch != p.Arch:
		return nil, fmt.Errorf("is %v: %s is not: build pprun for %v there", p, file, p)
	}
	return openExecutable(file)
}

// buildAgent builds pprun for another platform. The result is kept, for as long as this executable is the same.
func buildAgent(ctx context.Context, p platform) (*executable, error) {
	self, err := agent.Identity()
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "pprun")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if dir, err = own.Dir(dir); err != nil {
		return nil, fmt.Errorf("%s, where it would be kept: %w", filepath.Join(cache, "pprun"), err)
	}
	file := filepath.Join(dir, fmt.Sprintf("pprun-%s-%s-%.16s", p.OS, p.Arch, self))
	if e, err := openExecutable(file); err == nil {
		return e, nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return nil, errors.New("no go command on PATH to build it")
	}
	source, err := ownSource(ctx)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(dir, ".build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "pprun")
	builds(p)
	defer builds(platform{})
	if err := goBuild(ctx, source, ownCommand, out, append(p.env(), offline...)...); err != nil {
		return nil, fmt.Errorf("cannot be built from %s: %w", source, err)
	}
	if err := os.Rename(out, file); err != nil {
		return nil, err
	}
	return openExecutable(file)
}

func builds(p platform) {
	foreign.mu.Lock()
	defer foreign.mu.Unlock()
	foreign.next = p
}

// buildingAgent says what is built while nodes wait for it; empty: nothing is.
func buildingAgent() string {
	foreign.mu.Lock()
	defer foreign.mu.Unlock()
	if foreign.next == (platform{}) {
		return ""
	}
	return "building pprun for " + foreign.next.String()
}

// offline keeps the go command from downloading anything.
var offline = []string{"GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=", "GOWORK=off"}

// env has the go command build for a platform. Other platforms' C compilers are rarely there.
func (p platform) env() []string {
	return []string{"CGO_ENABLED=0", "GOOS=" + p.OS, "GOARCH=" + p.Arch}
}

// ownSource finds the directory of our module: the one that this executable was built in, the module cache's, or the
// one that the module of the working directory uses.
func ownSource(ctx context.Context) (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) { // it is not in a build with -trimpath
		if dir := filepath.Dir(filepath.Dir(file)); trusted(dir) {
			return dir, nil
		}
	}
	modules := []string{ownModule}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Path == ownModule && strings.HasPrefix(b.Main.Version, "v") {
		modules = []string{ownModule + "@" + b.Main.Version, ownModule}
	}
	for _, m := range modules {
		out, err := goRun(ctx, offline, "list", "-m", "-f", "{{.Dir}}", m)
		if dir := strings.TrimSpace(string(out)); err == nil && dir != "" && trusted(dir) {
			return dir, nil
		}
	}
	return "", errors.New("its source is not at hand to build it")
}

// trusted says whether a directory holds our module and belongs to this user or root: the path in an executable that was
// built elsewhere may be anybody's here.
func trusted(dir string) bool {
	for _, file := range []string{dir, filepath.Join(dir, "go.mod")} {
		st, err := os.Stat(file)
		if err != nil {
			return false
		}
		if s, ok := st.Sys().(*syscall.Stat_t); !ok || s.Uid != 0 && int(s.Uid) != os.Getuid() {
			return false
		}
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && strings.HasPrefix(string(mod), "module "+ownModule+"\n")
}
