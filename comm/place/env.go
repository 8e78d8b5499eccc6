package place

import (
	"fmt"
	"os"
	"strconv"
)

// Names of the variables an agent sets for every rank, for programs in any language.
const (
	EnvAgent     = "PPRUN_AGENT"      // path of the agent's Unix socket
	EnvRank      = "PPRUN_RANK"       // 0..size-1
	EnvSize      = "PPRUN_SIZE"       // ranks in the job
	EnvLocalRank = "PPRUN_LOCAL_RANK" // 0..local size-1
	EnvLocalSize = "PPRUN_LOCAL_SIZE" // ranks of the job on this node
	EnvNode      = "PPRUN_NODE"       // 0..nodes-1
	EnvNodes     = "PPRUN_NODES"      // nodes in the job
	EnvJob       = "PPRUN_JOB"        // the job's id
)

// Env is what the variables say.
type Env struct {
	Agent                string
	Rank, Size           int
	LocalRank, LocalSize int
	Node, Nodes          int
	Job                  string
}

// Environ returns the variables as NAME=value.
func (e Env) Environ() []string {
	return []string{
		EnvAgent + "=" + e.Agent,
		EnvRank + "=" + strconv.Itoa(e.Rank),
		EnvSize + "=" + strconv.Itoa(e.Size),
		EnvLocalRank + "=" + strconv.Itoa(e.LocalRank),
		EnvLocalSize + "=" + strconv.Itoa(e.LocalSize),
		EnvNode + "=" + strconv.Itoa(e.Node),
		EnvNodes + "=" + strconv.Itoa(e.Nodes),
		EnvJob + "=" + e.Job,
	}
}

// FromEnviron reads the variables that Ask needs. ok is false where no agent started this process; err names a
// variable that is set and makes no sense.
func FromEnviron() (e Env, ok bool, err error) {
	e.Agent = os.Getenv(EnvAgent)
	if e.Agent == "" {
		return Env{}, false, nil
	}
	e.Job = os.Getenv(EnvJob)
	for _, v := range []struct {
		name string
		to   *int
	}{{EnvRank, &e.Rank}, {EnvSize, &e.Size}} {
		text := os.Getenv(v.name)
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return Env{}, true, fmt.Errorf("place: %s=%q: want a number from 0 up, as pprun sets it with %s; without %s this is a program of one rank", v.name, text, EnvAgent, EnvAgent)
		}
		*v.to = n
	}
	if e.Rank >= e.Size {
		return Env{}, true, fmt.Errorf("place: %s=%d with %s=%d: want a rank below the size", EnvRank, e.Rank, EnvSize, e.Size)
	}
	return e, true, nil
}
