package launch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// This executable is also the agent on every node. It is read, hashed and compressed at most once, and only when a node
// needs it.
var (
	ownDigest = sync.OnceValues(hashSelf) // sha256, hex
	ownBytes  = sync.OnceValues(readSelf)
	ownGzip   = sync.OnceValues(packSelf)
)

func hashSelf() (string, error) {
	f, err := openSelf()
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func readSelf() ([]byte, error) {
	f, err := openSelf()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
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

func openSelf() (*os.File, error) {
	path, err := ownExecutable()
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

func ownPlatform() (goos, arch string) { return runtime.GOOS, runtime.GOARCH }
