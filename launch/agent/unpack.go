package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow is the memory that a stream may ask the decoder to hold.
const maxZstdWindow = 8 << 20

// unpack decodes the zstd stream into w while it arrives. It stops a byte after the announced size, and fails unless
// the bytes are those of the announced digest.
func unpack(w io.Writer, stream io.Reader, s *Stage) error {
	d, err := zstd.NewReader(stream, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		return err
	}
	defer d.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(d, s.Size+1))
	switch {
	case n > s.Size:
		return fmt.Errorf("more than the announced %d bytes arrive", s.Size)
	case err != nil:
		return err
	case n < s.Size:
		return fmt.Errorf("%d bytes arrived of the announced %d", n, s.Size)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != s.Digest {
		return fmt.Errorf("sha256 mismatch: got %s, want %s", got, s.Digest)
	}
	return nil
}
