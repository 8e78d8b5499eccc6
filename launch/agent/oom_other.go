//go:build !linux

package agent

type oomCounter struct{}

func countOOM() *oomCounter { return nil }

func (*oomCounter) moved() bool  { return false }
func (*oomCounter) limit() int64 { return 0 }
