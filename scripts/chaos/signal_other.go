//go:build !linux

package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// signal is for labs, which only Linux has.
func (p *process) signal(unix.Signal) error { return errors.ErrUnsupported }
