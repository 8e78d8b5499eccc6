package launch

import (
	"os"
	"strconv"
	"strings"

	"github.com/pprun/pprun/launch/own"
)

// files are the ranks' own output files.
type files struct {
	of    []*sink // of each rank; ranks share a file whose name is the same
	sinks map[string]*sink
	open  []*os.File
}

// openFiles opens the file of each rank, new or emptied.
func openFiles(pattern string, p *Placement, wrote func(node, bytes int), broken func(error)) (*files, error) {
	f := &files{sinks: map[string]*sink{}}
	for rank, n := range p.NodeOf {
		name := fileName(pattern, rank, p.Hosts[n])
		s := f.sinks[name]
		if s == nil {
			file, err := own.Create(name, 0o666)
			if err != nil {
				for _, s := range f.sinks {
					<-s.close()
				}
				f.close()
				return nil, err
			}
			f.open = append(f.open, file)
			s = newSink(file, wrote, broken)
			f.sinks[name] = s
		}
		f.of = append(f.of, s)
	}
	return f, nil
}

// close closes the files, whose sinks have ended.
func (f *files) close() {
	for _, file := range f.open {
		file.Close()
	}
}

// fileName fills in %r and %h; %% is a percent sign.
func fileName(pattern string, rank int, host string) string {
	return strings.NewReplacer("%%", "%", "%r", strconv.Itoa(rank), "%h", host).Replace(pattern)
}
