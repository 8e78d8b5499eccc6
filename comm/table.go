package comm

// A table gives its values ids: the index in the low half, above it a count of how often the index was used, so that
// an id is never used again. The zero table is empty. The owner locks.
type table[T any] struct {
	rows []row[T]
	free []uint32 // indices of rows not in use
}

type row[T any] struct {
	used  uint32
	taken bool
	value T
}

func (t *table[T]) add(v T) (id uint64) {
	if len(t.free) == 0 {
		t.rows = append(t.rows, row[T]{taken: true, value: v})
		return uint64(len(t.rows) - 1)
	}
	i := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	r := &t.rows[i]
	r.taken, r.value = true, v
	return uint64(r.used)<<32 | uint64(i)
}

// get returns the value of an id that is in use.
func (t *table[T]) get(id uint64) (v T, ok bool) {
	i := uint32(id)
	if int(i) >= len(t.rows) || !t.rows[i].taken || t.rows[i].used != uint32(id>>32) {
		return v, false
	}
	return t.rows[i].value, true
}

// gave says whether an id was in use once and is not any more.
func (t *table[T]) gave(id uint64) bool {
	i := uint32(id)
	return int(i) < len(t.rows) && t.rows[i].used > uint32(id>>32)
}

// remove forgets an id that is in use.
func (t *table[T]) remove(id uint64) {
	i := uint32(id)
	r := &t.rows[i]
	var zero T
	r.taken, r.value = false, zero
	r.used++
	t.free = append(t.free, i)
}

func (t *table[T]) len() int { return len(t.rows) - len(t.free) }

// all yields the values in use.
func (t *table[T]) all(yield func(T) bool) {
	for i := range t.rows {
		if t.rows[i].taken && !yield(t.rows[i].value) {
			return
		}
	}
}

// maxGap is how far ids that come over a link may be ahead of those before them: tables give indices in order, but large
// payloads are overtaken.
const maxGap = 1 << 16
