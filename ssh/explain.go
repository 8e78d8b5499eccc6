package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// explain makes the error that Dial returns: the phase, the reason without the layers it came through,
// and what to do about it.
func (d *dialing) explain(ctx context.Context, err error) *Error {
	e := &Error{Host: d.host, Phase: d.phase.current(), Err: err}
	if ctx.Err() != nil {
		e.Err = context.Cause(ctx)
	}
	var dns *net.DNSError
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() && ctx.Err() == nil && !errors.As(err, &dns) {
		e.Err = errTimeout(d.phase.timeout)
	}
	var refusal *hostKeyError
	var denied *deniedError
	var op *net.OpError
	switch {
	case errors.Is(e.Err, context.Canceled), errors.As(e.Err, new(*Error)), errors.As(e.Err, new(*commandError)):
		// a jump host's or the command's error says it all
	case errors.As(e.Err, &refusal):
		e.Err, e.Fix = refusal, refusal.fix
		if refusal.unknown {
			e.Fix = "compare it with the host's own and accept it: ssh " + d.options() + "-o StrictHostKeyChecking=ask " + d.host + " true"
		}
	case errors.As(e.Err, &denied):
		e.Err, e.Fix = denied, denied.fix
	case errors.As(e.Err, &dns) && ctx.Err() == nil:
		e.Phase, e.Err, e.Fix = phaseResolve, nameError(dns), "does the name server answer?"
		if dns.IsNotFound {
			e.Fix = "is the name spelt right?"
		}
		if d.set.hostName != d.host {
			e.Err = fmt.Errorf("%s: %w", d.set.hostName, e.Err)
		}
	case isReset(e.Err) && (e.Phase == phaseConnect || e.Phase == phaseBanner || e.Phase == phaseKeyExchange):
		e.Phase, e.Err = phaseBanner, errors.New("the host closes the connection before authentication")
		e.Fix = "see sshd's log there; too many connections at once (MaxStartups)?"
	case isReset(e.Err) && e.Phase == phaseAuthenticate:
		e.Err, e.Fix = errors.New("the host closes the connection"), "see sshd's log there; is the account expired, or does /etc/nologin forbid logins?"
	case errors.As(e.Err, &op) && e.Phase == phaseConnect:
		e.Err = underlying(op) // without the address: many hosts may have the same reason
		e.Fix = connectFix(op, d.set.port)
	case e.Phase == phaseResolve && errors.Is(e.Err, context.DeadlineExceeded):
		e.Fix = "does the name server answer?"
		if d.set == nil {
			e.Err, e.Fix = fmt.Errorf("ssh -G: %w", e.Err), "does something in the ssh configuration hang, such as Match exec?"
		}
	case e.Phase == phaseConnect && errors.Is(e.Err, context.DeadlineExceeded):
		e.Fix = "is sshd running there?"
	case e.Phase == phaseBanner && errors.Is(e.Err, context.DeadlineExceeded):
		e.Fix = fmt.Sprintf("is it sshd that listens on port %d there, and is the host overloaded?", d.set.port)
	default:
		e.Err = trim(e.Err)
	}
	return e
}

// nameError is why a name was not resolved, without the port that was asked from: many hosts may have the same reason.
func nameError(dns *net.DNSError) error {
	if at := strings.LastIndex(dns.Err, ": "); at >= 0 && dns.Server != "" {
		return fmt.Errorf("name server %s%s", dns.Server, dns.Err[at:])
	}
	return errors.New(dns.Err)
}

func connectFix(op *net.OpError, port int) string {
	switch {
	case errors.Is(op, syscall.ECONNREFUSED):
		return "is sshd running there on port " + strconv.Itoa(port) + "?"
	case errors.Is(op, syscall.EHOSTUNREACH), errors.Is(op, syscall.ENETUNREACH):
		return "is the host up, and is there a route to it?"
	}
	return ""
}

// underlying returns the bare reason in a network error.
func underlying(op *net.OpError) error {
	var sys *os.SyscallError
	if errors.As(op.Err, &sys) {
		return sys.Err
	}
	return op.Err
}

// trim takes the prefixes of the library from an error.
func trim(err error) error {
	text := err.Error()
	for _, prefix := range []string{"ssh: handshake failed: ", "ssh: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	if text == err.Error() {
		return err
	}
	return &trimmedError{text, err}
}

type trimmedError struct {
	text string
	err  error
}

func (e *trimmedError) Error() string { return e.text }
func (e *trimmedError) Unwrap() error { return e.err }

// options are those of an ssh command for the same host, each with a blank behind.
func (d *dialing) options() string {
	var s string
	if d.cfg.ConfigFile != "" {
		s += "-F " + d.cfg.ConfigFile + " "
	}
	if d.jumps != "" {
		s += "-J " + d.jumps + " "
	}
	if d.user != "" {
		s += "-l " + d.user + " "
	}
	if d.port != 0 {
		s += "-p " + strconv.Itoa(d.port) + " "
	}
	return s
}
