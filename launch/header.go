package launch

import (
	"bytes"
	"debug/elf"
	"debug/macho"
	"fmt"
	"io"
	"os"
	"strings"
)

// header is what the first bytes of a program say about where it runs.
type header struct {
	OS, Arch string // as GOOS and GOARCH; empty for a script, and OS is empty where the file leaves it open
	Script   bool
}

// elfArch is GOARCH of an ELF machine where it does not depend on byte order.
var elfArch = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_386: "386", elf.EM_ARM: "arm",
	elf.EM_RISCV: "riscv64", elf.EM_S390: "s390x", elf.EM_LOONGARCH: "loong64",
}

var machoArch = map[macho.Cpu]string{macho.CpuAmd64: "amd64", macho.CpuArm64: "arm64"}

// readHeader looks at the program in f. Its error says in words why no node can run the file.
func readHeader(f io.ReaderAt) (header, error) {
	head := make([]byte, 256)
	n, err := f.ReadAt(head, 0)
	head = head[:n]
	switch {
	case n == 0 && err != io.EOF:
		return header{}, err
	case n == 0:
		return header{}, fmt.Errorf("is empty")
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return elfHeader(f)
	case bytes.HasPrefix(head, []byte("#!")):
		return scriptHeader(head)
	case bytes.HasPrefix(head, []byte("MZ")):
		return header{}, fmt.Errorf("is a Windows program")
	}
	if m, err := macho.NewFile(f); err == nil {
		return header{OS: "darwin", Arch: machoArch[m.Cpu]}, nil
	}
	if m, err := macho.NewFatFile(f); err == nil {
		m.Close()
		return header{OS: "darwin"}, nil
	}
	if bytes.IndexByte(head, 0) < 0 {
		return header{}, fmt.Errorf("has no #! line: make #!/bin/sh (or its interpreter) its first line")
	}
	return header{}, fmt.Errorf("is neither a program nor a script")
}

func elfHeader(f io.ReaderAt) (header, error) {
	e, err := elf.NewFile(f)
	if err != nil {
		return header{}, fmt.Errorf("is a damaged ELF file (%w): build or copy it again", err)
	}
	if e.Type != elf.ET_EXEC && e.Type != elf.ET_DYN {
		return header{}, fmt.Errorf("is an ELF file but no program (%v): link it first", e.Type)
	}
	h := header{OS: "linux", Arch: elfArch[e.Machine]}
	if e.OSABI == elf.ELFOSABI_FREEBSD || e.OSABI == elf.ELFOSABI_NETBSD || e.OSABI == elf.ELFOSABI_OPENBSD {
		h.OS = strings.ToLower(strings.TrimPrefix(e.OSABI.String(), "ELFOSABI_"))
	}
	if e.Machine == elf.EM_PPC64 {
		h.Arch = map[elf.Data]string{elf.ELFDATA2LSB: "ppc64le", elf.ELFDATA2MSB: "ppc64"}[e.Data]
	}
	return h, nil
}

func scriptHeader(head []byte) (header, error) {
	line, _, _ := bytes.Cut(head[len("#!"):], []byte("\n"))
	if bytes.HasSuffix(line, []byte("\r")) {
		return header{}, fmt.Errorf("has a #! line that ends in CR (Windows line ends): convert it with dos2unix")
	}
	if len(bytes.TrimSpace(line)) == 0 {
		return header{}, fmt.Errorf("has a #! line that names no interpreter")
	}
	return header{Script: true}, nil
}

// fits says whether nodes of this platform can run a program with this header.
func (h header) fits(p platform) bool {
	return h.Script || (h.OS == "" || h.OS == p.OS) && (h.Arch == "" || h.Arch == p.Arch)
}

// fileHeader is readHeader of the file at path.
func fileHeader(path string) (header, error) {
	f, err := os.Open(path)
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	return readHeader(f)
}
