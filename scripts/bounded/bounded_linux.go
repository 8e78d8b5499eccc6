package bounded

import "syscall"

// limitData limits the memory that this process may write to.
func limitData() {
	syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: hardLimit, Max: hardLimit})
}
