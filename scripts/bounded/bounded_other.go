//go:build !linux

package bounded

// limitData is for Linux only: elsewhere data is not what programs allocate.
func limitData() {}
