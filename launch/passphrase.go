package launch

import (
	"context"

	"github.com/pprun/pprun/ssh"
)

// passphrase asks the person at the terminal. Meanwhile nothing is drawn there, and the clock of the start stands still.
func (j *job) passphrase(ctx context.Context, keyFile string) ([]byte, error) {
	free := make(chan struct{})
	j.events <- event{what: asking{free}}
	defer func() { j.events <- event{what: answered{}} }()
	select {
	case <-free:
		return ssh.AskTerminal(ctx, keyFile)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type (
	asking   struct{ free chan<- struct{} } // a person is about to be asked; closed once the terminal is free
	answered struct{}
)
