package agent

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pprun/pprun/comm/place"
	"golang.org/x/sys/unix"
)

// plan decides with what the ranks start.
func (a *agent) plan(s *Start) (*plan, error) {
	p := &plan{start: s, hello: &a.hello}
	var err error
	if p.dir, err = a.workDir(s); err != nil {
		return nil, err
	}
	p.env = rankEnv(os.Environ(), s.Env, s.NodeEnv, p.dir)
	if p.path, err = a.program(s.Program, p); err != nil {
		return nil, err
	}
	if s.Program.Stage == 0 && !s.Program.Self {
		if p.file, err = a.open(p); err == nil {
			if err := a.inspect(p.file, p.path, getenv(p.env, "LD_LIBRARY_PATH")); err != nil {
				return nil, err
			}
		}
	}
	if p.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	p.argv = append([]string{cmp.Or(s.Program.Name, p.path)}, s.Args...)
	if p.socket, err = a.seats(s); err != nil {
		return nil, err
	}
	return p, nil
}

// workDir is where the ranks run.
func (a *agent) workDir(s *Start) (string, error) {
	if s.Dir == "" {
		return a.dirs.private(a.hello.Job)
	}
	st, err := os.Stat(s.Dir)
	if err == nil && st.IsDir() {
		err = unix.Access(s.Dir, unix.X_OK) // a server may run the ranks as somebody else
	}
	if err == nil && st.IsDir() && filepath.IsAbs(s.Dir) {
		return s.Dir, nil
	}
	if !s.DirGiven {
		return a.dirs.private(a.hello.Job)
	}
	why := "not a directory"
	if err != nil {
		why = reason(err)
	} else if !filepath.IsAbs(s.Dir) {
		why = "not an absolute path"
	}
	return "", &Failure{Phase: "start", Rank: -1, Code: 125, Text: fmt.Sprintf("working directory %s on %s: %s", s.Dir, a.host, why),
		Fix: "create it there, or name another one with --wdir"}
}

// program finds the file to execute.
func (a *agent) program(prog Program, p *plan) (string, error) {
	switch {
	case prog.Self:
		return selfPath, nil
	case prog.Stage != 0:
		return a.staged(prog.Stage)
	}
	if strings.Contains(prog.Path, "/") {
		return prog.Path, a.runnable(prog.Path, p.dir)
	}
	return a.lookPath(prog.Path, getenv(p.env, "PATH"))
}

// environ is the environment of one rank.
func (p *plan) environ(r *rank) []string {
	env := make([]string, len(p.env), len(p.env)+10)
	copy(env, p.env)
	if r.MaxProcs > 0 && getenv(p.env, "GOMAXPROCS") == "" {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(r.MaxProcs))
	}
	return append(env, place.Env{
		Agent: p.socket, Rank: r.Rank.Rank, Size: p.start.Size, LocalRank: r.LocalRank, LocalSize: len(p.start.Ranks),
		Node: p.hello.Node, Nodes: len(p.start.Nodes), Job: p.hello.Job,
	}.Environ()...)
}
