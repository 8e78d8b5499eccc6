package launch

import (
	"bytes"
	"fmt"
	"os"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/pprun/pprun/launch/agent"
)

// executable is pprun for one platform, which is the agent on nodes of that platform. It is read and compressed at most
// once, and only when a node needs it.
type executable struct {
	identity string // as agent.Identity has it
	size     int64
	plain    func() ([]byte, error)
	packed   func() ([]byte, error) // by gzip, which nodes can unpack by themselves
}

// ownAgent is the executable that runs here.
var ownAgent = sync.OnceValues(func() (*executable, error) {
	path, err := ownExecutable()
	if err != nil {
		return nil, fmt.Errorf("this executable: %w", err)
	}
	e, err := openExecutable(path)
	if err != nil {
		return nil, fmt.Errorf("this executable: %w", err)
	}
	return e, nil
})

// openExecutable measures the executable at path, which has to stay.
func openExecutable(path string) (*executable, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	identity, err := agent.IdentityOf(f)
	if err != nil {
		return nil, err
	}
	plain := sync.OnceValues(func() ([]byte, error) { return os.ReadFile(path) })
	packed := sync.OnceValues(func() ([]byte, error) {
		b, err := plain()
		if err != nil {
			return nil, err
		}
		return pack(b)
	})
	return &executable{identity: identity, size: st.Size(), plain: plain, packed: packed}, nil
}

// pack compresses with little effort.
func pack(b []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	err = z.Close()
	return out.Bytes(), err
}
