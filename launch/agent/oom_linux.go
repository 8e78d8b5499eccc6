package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// oomCounter watches how often the kernel's out-of-memory killer has struck in this process's control group.
type oomCounter struct {
	files []string
	mu    sync.Mutex
	last  int64
}

// countOOM begins to count.
func countOOM() *oomCounter {
	o := &oomCounter{}
	v1, v2 := groups("memory")
	for _, dir := range v1 {
		o.files = append(o.files, filepath.Join(dir, "memory.oom_control"))
	}
	for _, dir := range v2 {
		o.files = append(o.files, filepath.Join(dir, "memory.events"))
	}
	o.last = o.count()
	return o
}

// limit is the most memory that the group, with those above it, may have; 0: it is not known to be limited.
func (o *oomCounter) limit() (least int64) {
	for _, path := range o.files {
		for dir := range upward(filepath.Dir(path)) {
			for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
				n, ok := readNumber(filepath.Join(dir, name))
				if ok && n < unlimited && (least == 0 || n < least) {
					least = n
				}
			}
		}
	}
	return least
}

// unlimited is below what groups of version 1 call so: the largest multiple of a page.
const unlimited = 1 << 62

// count adds up the oom_kill lines; a file that is not there counts nothing.
func (o *oomCounter) count() (n int64) {
	for _, path := range o.files {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if text, ok := strings.CutPrefix(line, "oom_kill "); ok {
				k, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
				n += k
			}
		}
	}
	return n
}

// moved says whether it has struck since the last call.
func (o *oomCounter) moved() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.count()
	moved := n > o.last
	o.last = max(o.last, n) // less where there was no file free to read it
	return moved
}
