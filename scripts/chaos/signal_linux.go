package main

import "golang.org/x/sys/unix"

// signal signals the process, never one that has got its number since.
func (p *process) signal(s unix.Signal) error {
	fd, err := unix.Open(p.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.PidfdSendSignal(fd, s, nil, 0)
}
