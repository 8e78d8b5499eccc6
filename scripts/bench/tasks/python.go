package main

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed python
var scripts embed.FS

// pythons are the peers in Python. Debian's packages are for the system's interpreter.
func pythons(dir string) ([]*peer, error) {
	if err := os.CopyFS(dir, scripts); err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "python")
	peers := []*peer{
		{name: "multiprocessing", few: 2000, many: 20_000, chunks: 500_000, command: []string{*python, filepath.Join(home, "farm_pool.py")}},
		{name: "mpi4py.futures", few: 1000, many: 3000, chunks: 100_000, needs: "mpi4py.futures", from: "apt-get install python3-mpi4py", command: []string{
			"mpiexec.openmpi", "--allow-run-as-root", "--oversubscribe", "-n", "3", *python, "-m", "mpi4py.futures", filepath.Join(home, "farm_mpi.py")}},
		{name: "Dask", few: 50, many: 500, chunks: 100_000, needs: "distributed", from: "apt-get install python3-distributed", command: []string{*python, filepath.Join(home, "farm_dask.py")}},
		{name: "ppft", few: 1000, many: 3000, chunks: 100_000, needs: "ppft", from: "-ppft DIR", command: []string{*python, filepath.Join(home, "farm_ppft.py")}},
	}
	for _, p := range peers {
		p.env = append(p.env, "PYTHONPATH="+home+string(filepath.ListSeparator)+*ppft)
	}
	return peers, nil
}

// available says what is missing for a peer in Python.
func (p *peer) available() error {
	if p.needs == "" {
		return nil
	}
	cmd := exec.Command(*python, "-c", "import "+p.needs)
	cmd.Env = append(os.Environ(), p.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s cannot import %s (%s): %s", *python, p.needs, p.from, lastLine(out))
	}
	return nil
}
