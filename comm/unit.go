package comm

// A unit is a task of a stream: a single element or a chunk of them.
type unit[A any] struct {
	call          // comes first: a waiter finds the unit by it
	bytes   int32 // of the arguments
	arrived bool
	next    *unit[A] // if ordered
	kept    *kept[A] // nil for a single element, if ordered
}

// What is kept of the elements of a unit.
type kept[A any] struct {
	index   int // of the first
	count   int
	args    []A    // to be yielded, if not ordered
	payload []byte // of a chunk; nil for a plain task
}

func (u *unit[A]) chunk() bool { return u.kept != nil && u.kept.payload != nil }

func (u *unit[A]) count() int {
	if u.kept == nil {
		return 1
	}
	return u.kept.count
}

// check lets a chunk fail whose result is malformed.
func (u *unit[A]) check() {
	if u.chunk() && u.status() == statusOK {
		if err := checkChunkResult(u.body, u.count()); err != nil {
			err = errorf("result of %s from rank %d: %w", u.fn.name, u.rank, err)
			putResultHead(u.head[:], resultHead{status: statusFailed})
			u.err = &err
		}
	}
}

// ran returns how many elements of a unit were run, if all is well.
func (u *unit[A]) ran() int {
	if u.chunk() && u.status() == statusOK {
		return chunkRan(u.body)
	}
	return u.count()
}
