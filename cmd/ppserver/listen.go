package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/pprun/pprun/launch/agent"
)

// listen opens the port.
func listen(o *options, keys bool) (net.Listener, error) {
	address, err := chooseAddress(o, keys)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		err = fmt.Errorf("%w: is another ppserver running there? --port gives this one another", err)
	case errors.Is(err, syscall.EACCES):
		err = fmt.Errorf("%w: give a --port that needs no root, from 1024 on", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		err = fmt.Errorf("%w: this machine does not have it: --listen one that it has", err)
	}
	return l, err
}

// chooseAddress is where to listen. Only with keys is it where other machines reach this one.
func chooseAddress(o *options, keys bool) (string, error) {
	if o.listen != "" {
		return o.listen, checkAddress(o.listen, keys)
	}
	if !keys {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)), nil
	}
	ip, err := onlyAddress()
	if err != nil {
		return "", err
	}
	return netip.AddrPortFrom(ip, uint16(o.port)).String(), nil
}

// checkAddress refuses an address that would let in more than was asked for.
func checkAddress(address string, keys bool) error {
	a, err := net.ResolveTCPAddr("tcp", address)
	switch {
	case err != nil:
		return usagef("--listen %s: %v: want an address of this machine, as %s", address, err, cmp.Or(addresses(), "127.0.0.1"))
	case a.IP == nil || a.IP.IsUnspecified():
		return usagef("--listen %s: is every address of this machine: name one", address)
	case !a.IP.IsLoopback() && !keys:
		return fmt.Errorf("--listen %s: without keys anybody could come in: ppserver keygen makes them", address)
	}
	return nil
}

// onlyAddress is the one address by which other machines reach this one.
func onlyAddress() (netip.Addr, error) {
	switch all := agent.OwnAddresses(); len(all) {
	case 0:
		return netip.Addr{}, errors.New("this machine has no address that others could reach: give one with --listen")
	case 1:
		return all[0], nil
	default:
		return netip.Addr{}, fmt.Errorf("this machine has several addresses: give one of them with --listen: %s", addresses())
	}
}

// addresses lists those by which others could reach this machine.
func addresses() string {
	var names []string
	for _, ip := range agent.OwnAddresses() {
		names = append(names, ip.String())
	}
	return strings.Join(names, ", ")
}
