package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pprun/pprun/launch/own"
)

// build builds a Go package directory or file into a temporary directory. The result is a static program of the same
// bytes for the same source (no paths, symbol tables or revisions in it), so that nodes which hold it are sent nothing.
// Only a package outside the standard library that uses cgo makes it a dynamic one.
func build(ctx context.Context, name string, p platform) (target, error) {
	dir, pkg := name, "."
	isFile := strings.HasSuffix(name, ".go")
	if isFile {
		dir, pkg = filepath.Dir(name), "./"+filepath.Base(name)
	}
	if _, err := exec.LookPath("go"); err != nil {
		return target{}, failf(StatusFailed, "%s: cannot build it: no go command on PATH: install Go, or name a built program", name)
	}
	tmp, err := own.Temp("pprun-build-")
	if err != nil {
		return target{}, failf(StatusFailed, "%s: cannot build it: %v", name, err)
	}
	t := target{name: name, remove: func() { os.RemoveAll(tmp) }}
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.remove()
		return target{}, err
	}
	base := filepath.Base(abs)
	if isFile {
		base = strings.TrimSuffix(filepath.Base(name), ".go")
	}
	t.path = filepath.Join(tmp, base)
	t.file = t.path
	if p == ownPlatform {
		err = compile(ctx, abs, pkg, t.path)
	} else if err = goBuild(ctx, abs, pkg, t.path, p.env()...); err != nil {
		err = fmt.Errorf("for %v (without cgo; a program built elsewhere is named by --bin %v=PATH):\n%w", p, p, err)
	}
	if err != nil {
		t.remove()
		return target{}, failf(StatusFailed, "%s: cannot build it:\n%v", name, err)
	}
	if t.header, err = fileHeader(t.path); err != nil {
		t.remove()
		return target{}, failf(StatusFailed, "%s: is no main package: name the directory of a program", name)
	}
	return t, nil
}

// compile builds without cgo while it finds out whether cgo is needed: it rarely is.
func compile(ctx context.Context, dir, pkg, out string) error {
	pureCtx, stop := context.WithCancel(ctx)
	defer stop()
	pure := make(chan error, 1)
	go func() { pure <- goBuild(pureCtx, dir, pkg, out, "CGO_ENABLED=0") }()
	cgo := usesCgo(ctx, dir, pkg)
	if cgo {
		stop()
	}
	err := <-pure
	if cgo {
		err = goBuild(ctx, dir, pkg, out, "CGO_ENABLED=1")
	}
	return err
}

func goBuild(ctx context.Context, dir, pkg, out string, env ...string) error {
	_, err := goRun(ctx, env, "build", "-C", dir, "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, pkg)
	return err
}

// usesCgo says whether a package outside the standard library uses cgo. Mistakes in the source are the build's to report.
func usesCgo(ctx context.Context, dir, pkg string) bool {
	const format = "{{if and .CgoFiles (not .Standard)}}{{.ImportPath}}{{end}}"
	out, err := goRun(ctx, []string{"CGO_ENABLED=1"}, "list", "-C", dir, "-deps", "-f", format, pkg)
	return err == nil && len(bytes.TrimSpace(out)) > 0
}

// goRun runs the go command; the error holds what it said.
func goRun(ctx context.Context, env []string, args ...string) ([]byte, error) {
	// -C must stand first: args begin with the verb, then -C and its directory.
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // compilers may outlive the go command that was told to stop
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(stderr.String()); said != "" {
			err = errors.New(said)
		}
		return nil, err
	}
	return stdout.Bytes(), nil
}
