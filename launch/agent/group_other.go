//go:build !linux

package agent

import "syscall"

// group is of Linux only.
type group struct{ path string }

func newGroup(string, int) *group { return nil }

func groupPath(string, int) string { return "" }

func (g *group) member(attr *syscall.SysProcAttr) *syscall.SysProcAttr { return attr }

func (g *group) kill() {}

func (g *group) remove() {}

func killGroup(string) {}

func removeGroup(string) {}
