package launch

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

//go:embed bootstrap.sh
var bootstrapScript string

const (
	maxNoise      = 64 << 10         // what login scripts may print before our script runs
	bootstrapTime = 15 * time.Second // for each answer of the node, and for each piece of the agent sent to it
)

// bootstrap makes the shell at the other end of rw become an agent:
//
//	launcher                       node's /bin/sh
//	bootstrap.sh                ->
//	                            <- noise of the login shell
//	                            <- marker: agent PATH            it is there already, or:
//	                            <- marker: want OS ARCH gzip
//	identity, size, 0           ->                           only if the agent for OS ARCH is not the one it looked for
//	                            <- marker: want OS ARCH gzip, if that one is not there either
//	identity, size, length, it  ->
//	                            <- marker: agent PATH
//	frames of launch/agent     <->
//
// Nothing is sent that the script has not asked for: a shell may read its input further than its script goes. alive is
// called with each sign of progress. The returned reader goes on where the agent's first frame begins.
func bootstrap(ctx context.Context, rw io.ReadWriter, alive func()) (io.Reader, error) {
	sought, err := working(alive, ownAgent) // what the script looks for; most nodes are of our platform
	if err != nil {
		return nil, err
	}
	b := make([]byte, 8)
	rand.Read(b)
	nonce := hex.EncodeToString(b)
	script := strings.NewReplacer("@DIGEST@", sought.identity, "@NONCE@", nonce, "@SIZE@", strconv.FormatInt(sought.size, 10)).Replace(bootstrapScript)
	io.WriteString(rw, script) // if the shell is gone already, what it said tells more than this error
	marker := "pprun-" + nonce + ":"
	r := bufio.NewReaderSize(rw, maxNoise)
	for {
		words, err := answer(r, marker)
		if err != nil {
			return nil, err
		}
		alive()
		switch f := strings.Fields(words); f[0] {
		case "agent":
			return r, nil
		case "want":
			if len(f) != 4 {
				return nil, fmt.Errorf("bootstrap: answered %q", words)
			}
			wanted, err := agentOf(ctx, f[1], f[2], alive)
			if err != nil {
				return nil, err
			}
			if wanted == sought {
				err = upload(rw, wanted, f[3] == "gzip", alive)
			} else {
				sought = wanted
				_, err = fmt.Fprintf(rw, "%s %d 0\n", sought.identity, sought.size)
			}
			if err != nil {
				return nil, err
			}
		case "nowhere":
			return nil, fmt.Errorf("no directory to keep the agent in (%s): set PPRUN_CACHE there", strings.TrimPrefix(words, "nowhere "))
		default:
			return nil, fmt.Errorf("bootstrap: answered %q", words)
		}
	}
}

// answer skips noise up to the marker and returns the words behind it.
func answer(r *bufio.Reader, marker string) (string, error) {
	var noise []byte
	for len(noise) < maxNoise {
		line, err := r.ReadSlice('\n')
		if words, ok := bytes.CutPrefix(line, []byte(marker)); ok && err == nil && len(bytes.TrimSpace(words)) > 0 {
			return string(bytes.TrimSpace(words)), nil
		}
		noise = append(noise, line...)
		if err != nil && err != bufio.ErrBufferFull {
			return "", &noiseError{noise, err}
		}
	}
	return "", &noiseError{noise, errors.New("too much")}
}

// noiseError is a login shell that did not let our script run.
type noiseError struct {
	noise []byte
	err   error
}

func (e *noiseError) Unwrap() error { return e.err }

func (e *noiseError) Error() string {
	return "the login shell did not run /bin/sh" + e.printed() + ": its start-up files, and ForceCommand of sshd, have to let commands pass"
}

// printed quotes the noise, if there was any.
func (e *noiseError) printed() string {
	said := strings.Join(strings.Fields(string(e.noise)), " ")
	if said == "" {
		return ""
	}
	const most = 200
	if len(said) > most {
		said = strings.ToValidUTF8(said[:most], "") + "..."
	}
	return fmt.Sprintf(", it printed %q", said)
}

// agentOf is the agent for a node whose uname says so.
func agentOf(ctx context.Context, system, machine string, alive func()) (*executable, error) {
	p, err := unamePlatform(system, machine)
	if err != nil {
		return nil, err
	}
	return agentFor(ctx, p, alive)
}

// upload sends an agent, in pieces so that a slow connection counts as alive.
func upload(w io.Writer, e *executable, packed bool, alive func()) error {
	content := e.plain
	if packed {
		content = e.packed
	}
	b, err := working(alive, content)
	if err != nil {
		return fmt.Errorf("pprun's own executable: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s %d %d\n", e.identity, e.size, len(b)); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	for len(b) > 0 {
		n, err := w.Write(b[:min(len(b), 256<<10)])
		if err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		b = b[n:]
		alive()
	}
	return nil
}

// working calls alive while f takes its time here, which is not the node's.
func working[T any](alive func(), f func() (T, error)) (v T, err error) {
	done := make(chan struct{})
	go func() { v, err = f(); close(done) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return v, err
		case <-tick.C:
			alive()
		}
	}
}

// deadline interrupts what was not moved on for a time, or when a context ends.
type deadline struct {
	patience time.Duration
	timer    *time.Timer
	stop     func() bool
}

func newDeadline(ctx context.Context, patience time.Duration, interrupt func()) *deadline {
	return &deadline{patience, time.AfterFunc(patience, interrupt), context.AfterFunc(ctx, interrupt)}
}

func (d *deadline) move() { d.timer.Reset(d.patience) }

// end reports whether the deadline had been in force to the end.
func (d *deadline) end() bool { return d.timer.Stop() && d.stop() }
