//go:build !linux

package main

// confine takes from this process, and from all that it will start, what nobody's program needs: to dump core.
func confine() error { return noCore() }
