package launch

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/pprun/pprun/scripts/bounded"
)

// elfFile is a program's ELF header and nothing else.
func elfFile(machine elf.Machine, kind elf.Type) string {
	b := make([]byte, 64)
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA], b[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	binary.LittleEndian.PutUint16(b[16:], uint16(kind))
	binary.LittleEndian.PutUint16(b[18:], uint16(machine))
	binary.LittleEndian.PutUint32(b[20:], 1)
	binary.LittleEndian.PutUint16(b[52:], 64)
	binary.LittleEndian.PutUint16(b[58:], 64)
	return string(b)
}

func TestReadHeader(t *testing.T) {
	for _, c := range []struct{ name, file, want, err string }{
		{"amd64", elfFile(elf.EM_X86_64, elf.ET_EXEC), "linux/amd64", ""},
		{"arm64", elfFile(elf.EM_AARCH64, elf.ET_DYN), "linux/arm64", ""},
		{"object", elfFile(elf.EM_X86_64, elf.ET_REL), "", "is an ELF file but no program"},
		{"cut", elf.ELFMAG, "", "is a damaged ELF file"},
		{"script", "#!/bin/sh\necho\n", "script", ""},
		{"script without an end", "#!/bin/sh", "script", ""},
		{"CR", "#!/bin/sh\r\necho\r\n", "", "ends in CR"},
		{"no interpreter", "#! \necho\n", "", "names no interpreter"},
		{"text", "echo hello\n", "", "has no #! line"},
		{"empty", "", "", "is empty"},
		{"data", "\x01\x02\x00\x03", "", "is neither a program nor a script"},
		{"Windows", "MZ\x90\x00", "", "is a Windows program"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := readHeader(strings.NewReader(c.file))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %s", err, c.err)
				}
				return
			}
			got := h.OS + "/" + h.Arch
			if h.Script {
				got = "script"
			}
			if err != nil || got != c.want {
				t.Errorf("%s, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestHeaderOfThisProgram(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h, err := fileHeader(exe)
	if err != nil {
		t.Fatal(err)
	}
	other := platform{"plan9", "mips"}
	if !h.fits(ownPlatform) || h.fits(other) {
		t.Errorf("%v fits %v: %v, %v: %v", h, ownPlatform, h.fits(ownPlatform), other, h.fits(other))
	}
	if !(header{Script: true}).fits(other) {
		t.Error("a script fits only some platforms")
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add(elfFile(elf.EM_X86_64, elf.ET_EXEC))
	f.Add("#!/bin/sh\n")
	f.Add("\xca\xfe\xba\xbe\x00\x00\x00\x02")
	f.Fuzz(func(t *testing.T, file string) {
		defer bounded.Memory(t)()
		h, err := readHeader(strings.NewReader(file))
		if err == nil && !h.Script && h.OS == "" {
			t.Errorf("%q: a program of no system", file)
		}
	})
}
