//go:build !linux

package agent

func (l *Limits) limitProcesses() {}
