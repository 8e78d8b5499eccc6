package agent

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
)

// Identity names the running executable, in 64 hex digits: two executables with the same name are the same program. It is
// made from the build ID that the Go linker writes into an ELF file, whose last part is a hash of the contents, because
// to hash 8 MB on every node at every start costs more than all else that an agent does. By a CRC-32C of the file, which
// costs a fraction of that, damage shows which it may have suffered since. Where there is no build ID it is the sha256 of
// the file.
var Identity = sync.OnceValues(func() (string, error) {
	f, err := openSelf()
	if err != nil {
		return "", fmt.Errorf("the agent's own executable: %w", err)
	}
	defer f.Close()
	id, err := IdentityOf(f)
	if err != nil {
		return "", fmt.Errorf("the agent's own executable: %w", err)
	}
	return id, nil
})

// IdentityOf is what the executable in f, which may be for another platform, will call its Identity.
func IdentityOf(f *os.File) (string, error) {
	h := sha256.New()
	id := goBuildID(f)
	if id == nil {
		_, err := io.Copy(h, f)
		return hex.EncodeToString(h.Sum(nil)), err
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	h.Write(sum.Sum(id))
	return hex.EncodeToString(h.Sum(nil)), nil
}

// goBuildID returns the description of the note that cmd/link writes (cmd/internal/buildid), nil where there is none.
func goBuildID(r io.ReaderAt) []byte {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil
	}
	note := f.Section(".note.go.buildid")
	if note == nil {
		return nil
	}
	b, err := note.Data()
	const head = 16 // lengths of name and description, type, "Go\0\0"
	if err != nil || len(b) <= head || string(b[12:15]) != "Go\x00" {
		return nil
	}
	return b[head:]
}
