package launch

import (
	"bytes"
	"os"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// This executable is also the agent on every node. It is read and compressed at most once, and only when a node
// needs it.
var (
	ownBytes = sync.OnceValues(readSelf)
	ownGzip  = sync.OnceValues(packSelf)
)

func readSelf() ([]byte, error) {
	path, err := ownExecutable()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// ownSize is the size of this executable in bytes.
func ownSize() (int64, error) {
	path, err := ownExecutable()
	if err != nil {
		return 0, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// packSelf compresses with little effort. gzip is what nodes can unpack by themselves.
func packSelf() ([]byte, error) {
	b, err := ownBytes()
	if err != nil {
		return nil, err
	}
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

func ownPlatform() (goos, arch string) { return runtime.GOOS, runtime.GOARCH }
