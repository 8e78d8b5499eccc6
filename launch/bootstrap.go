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

	"github.com/pprun/pprun/launch/agent"
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
//	length, this executable     ->
//	                            <- marker: agent PATH
//	frames of launch/agent     <->
//
// Nothing is sent that the script has not asked for: a shell may read its input further than its script goes. alive is
// called with each sign of progress. The returned reader goes on where the agent's first frame begins.
func bootstrap(rw io.ReadWriter, alive func()) (io.Reader, error) {
	digest, err := agent.Identity()
	if err != nil {
		return nil, fmt.Errorf("this executable: %w", err)
	}
	size, err := ownSize()
	if err != nil {
		return nil, fmt.Errorf("this executable: %w", err)
	}
	b := make([]byte, 8)
	rand.Read(b)
	nonce := hex.EncodeToString(b)
	script := strings.NewReplacer("@DIGEST@", digest, "@NONCE@", nonce, "@SIZE@", strconv.FormatInt(size, 10)).Replace(bootstrapScript)
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
			if err := platform(f[1], f[2]); err != nil {
				return nil, err
			}
			if err := upload(rw, f[3] == "gzip", alive); err != nil {
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
	return "the login shell did not run /bin/sh" + e.printed() + ": let its start-up files pass over commands without a terminal"
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

// platform refuses nodes on which this executable does not run.
func platform(system, machine string) error {
	goos := strings.ToLower(system)
	arch := map[string]string{"x86_64": "amd64", "aarch64": "arm64", "i686": "386"}[machine]
	if arch == "" {
		arch = machine
	}
	if ownOS, ownArch := ownPlatform(); goos != ownOS || arch != ownArch {
		return fmt.Errorf("is %s/%s, this pprun is %s/%s: run pprun on a machine like it", goos, arch, ownOS, ownArch)
	}
	return nil
}

// upload sends this executable, in pieces so that a slow connection counts as alive.
func upload(w io.Writer, packed bool, alive func()) error {
	b, err := ownBytes()
	if packed {
		b, err = ownGzip()
	}
	if err != nil {
		return fmt.Errorf("this executable: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%d\n", len(b)); err != nil {
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
