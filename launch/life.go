package launch

import (
	"slices"

	"github.com/pprun/pprun/comm/place"
)

// life is a rank beyond a single process.
type life struct {
	role        place.Role    // what the last process that said so is
	incarnation uint32        // of the present process, or of the one to come
	process     *Process      // the present one, or the last; nil before the first
	halted      int           // its process that is stopped; 0: none is
	heard       place.Hearing // by the hub
	restarts    int           // how often it was started again on its node
	short       int           // processes in a row that did not live for settled
}

// serves says whether a rank only serves tasks.
func (j *job) serves(rank int) bool { return rank > 0 && j.lives[rank].role == place.Serve }

// learn takes in what a rank says it is.
func (j *job) learn(n *node, r role) {
	if r.rank >= len(j.lives) || !slices.Contains(n.ranks, r.rank) {
		return
	}
	j.lives[r.rank].role = r.role
	if j.over {
		j.hubEnded()
	}
}

// replaceable says whether the others can do without a rank, or without this incarnation of it.
func (j *job) replaceable(rank int) bool { return j.serves(rank) && j.OnFail != OnFailAbort }
