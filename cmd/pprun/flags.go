package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pprun/pprun/launch"
	"github.com/spf13/pflag"
)

// options is what the command line says.
type options struct {
	config        launch.Config
	hosts, host   string // file, list
	servers       string // list
	dryRun        string // "", "table" or "json"
	help, version bool
}

// maxRanks bounds -n and its relatives: more is a slip of the finger.
const maxRanks = 1 << 20

// parse reads the arguments up to the program's name; what follows is the program's own.
func parse(args []string) (*options, error) {
	o := &options{config: launch.Config{Stdin: os.Stdin}}
	f := o.flags()
	if err := f.Parse(normalise(f, args)); err != nil {
		return nil, flagError(f, err)
	}
	if rest := f.Args(); len(rest) > 0 {
		o.config.Target, o.config.Args = rest[0], rest[1:]
	}
	return o, o.check(f)
}

func (o *options) flags() *pflag.FlagSet {
	c := &o.config
	f := pflag.NewFlagSet("pprun", pflag.ContinueOnError)
	f.SetInterspersed(false)
	f.SortFlags = false
	f.Usage = func() {}
	f.VarP(number{&c.N, 1}, "np", "n", "")
	for _, name := range []string{"hosts", "hostfile", "machinefile"} {
		short := map[string]string{"hosts": "f"}[name]
		f.VarP(once{&o.hosts}, name, short, "")
	}
	f.VarP(once{&o.host}, "host", "H", "")
	f.Var(once{&o.servers}, "servers", "")
	f.BoolVar(&c.Discover, "discover", false, "")
	f.Var(number{&c.MinServers, 1}, "min-servers", "")
	f.Var(number{&c.Local, 0}, "local", "")
	f.BoolVar(&c.Rejoin, "rejoin", false, "")
	f.VarP(number{&c.PPN, 1}, "ppn", "N", "")
	f.Var(choice[launch.Order]{&c.Order, []string{"block", "cyclic"}}, "map", "")
	f.VarP(number{&c.CPUs, 1}, "cpus", "c", "")
	f.BoolVar(&c.NoOversubscribe, "no-oversubscribe", false, "")
	f.Var(choice[string]{&o.dryRun, []string{"table", "json"}}, "dry-run", "")
	f.Lookup("dry-run").NoOptDefVal = "table"
	f.StringArrayVarP(&c.Env, "export", "x", nil, "")
	f.BoolVar(&c.EnvNone, "env-none", false, "")
	f.StringVar(&c.Dir, "wdir", "", "")
	f.StringArrayVar(&c.Stage, "stage", nil, "")
	f.BoolVar(&c.NoStage, "no-stage", false, "")
	f.Var(bin{&c.Bin}, "bin", "")
	f.Var(stdin{&c.StdinTo}, "stdin", "")
	f.Var(choice[launch.Label]{&c.Label, []string{"none", "rank", "host"}}, "label", "")
	f.VarPF(choice[launch.Label]{&c.Label, []string{"none", "rank", "host"}}, "label-rank", "l", "").NoOptDefVal = "rank"
	f.Var(once{&c.Report}, "report", "")
	f.StringVarP(&c.Output, "output", "o", "", "")
	f.Var(choice[launch.OnFail]{&c.OnFail, []string{"", "abort", "wait", "continue"}}, "on-fail", "")
	f.Var(number{&c.Respawn, 0}, "respawn", "")
	f.Var(duration{&c.Timeout}, "timeout", "")
	f.BoolVar(&c.Stacks, "stacks", false, "")
	f.Var(duration{&c.StartTimeout}, "start-timeout", "")
	f.Var(duration{&c.Grace}, "grace", "")
	f.Var(duration{&c.HeartbeatTimeout}, "heartbeat-timeout", "")
	f.BoolVar(&c.AcceptNew, "accept-new", false, "")
	f.StringVarP(&c.SSHConfig, "ssh-config", "F", "", "")
	f.Var(once{&c.SSHCommand}, "ssh", "")
	f.BoolVarP(&c.Verbose, "verbose", "v", false, "")
	f.BoolVarP(&c.Quiet, "quiet", "q", false, "")
	f.BoolVar(&o.version, "version", false, "")
	f.BoolVarP(&o.help, "help", "h", false, "")
	return f
}

// check refuses what cannot be meant.
func (o *options) check(f *pflag.FlagSet) error {
	c := &o.config
	switch {
	case o.hosts != "" && o.host != "":
		return errors.New("--hosts and --host: give one of them")
	case (o.servers != "" || c.Discover) && (o.hosts != "" || o.host != ""):
		return errors.New("--servers or --discover, and --hosts or --host: give one of them")
	case (f.Changed("local") || f.Changed("min-servers")) && o.servers == "" && !c.Discover && os.Getenv(envServers) == "":
		return errors.New("--local and --min-servers: are for --servers or --discover, which is missing")
	case o.hosts == "-" && f.Changed("stdin") && c.StdinTo != launch.StdinNone:
		return errors.New("--hosts - and --stdin: the hosts are read from standard input, which leaves none for the ranks: leave out --stdin")
	case c.Dir != "" && len(c.Stage) > 0:
		return errors.New("--wdir and --stage: staged files lie in a private directory, which is the working directory: leave out --wdir")
	case f.Changed("ssh") && strings.TrimSpace(c.SSHCommand) == "":
		return errors.New("--ssh: want a command that takes a host and a command")
	case c.SSHCommand != "" && (c.SSHConfig != "" || c.AcceptNew):
		return errors.New("--ssh: -F and --accept-new are for pprun's own ssh: give the command options of its own")
	case c.Respawn > 0 && (c.OnFail == launch.OnFailAbort || c.OnFail == launch.OnFailWait):
		return errors.New("--respawn and --on-fail abort or wait: with these nothing is started again: leave out --respawn")
	case c.Rejoin && (c.OnFail == launch.OnFailAbort || c.OnFail == launch.OnFailWait):
		return errors.New("--rejoin and --on-fail abort or wait: with these nothing is started again: leave out --rejoin")
	case c.Stacks && c.Timeout == 0:
		return errors.New("--stacks: is for the end by --timeout: add --timeout D; to ask a running job send pprun SIGQUIT")
	case f.Changed("heartbeat-timeout") && (c.HeartbeatTimeout < time.Second || c.HeartbeatTimeout > 10*time.Minute):
		return fmt.Errorf("--heartbeat-timeout %v: want 1s to 10m", c.HeartbeatTimeout)
	case c.Report == "-":
		return errors.New("--report -: standard output is the program's: want the name of a file")
	case c.Verbose && c.Quiet:
		return errors.New("-v and -q: give one of them")
	}
	if f.Changed("respawn") && c.Respawn == 0 {
		c.Respawn = launch.NoRespawn
	}
	if f.Changed("local") && c.Local == 0 {
		c.Local = launch.NoLocal
	}
	if c.Dir != "" {
		dir, err := filepath.Abs(c.Dir)
		if err != nil {
			return fmt.Errorf("--wdir %s: %w", c.Dir, err)
		}
		c.Dir = dir
	}
	for i, file := range c.Stage {
		same := func(other string) bool { return filepath.Base(other) == filepath.Base(file) }
		if k := slices.IndexFunc(c.Stage[:i], same); k >= 0 {
			return fmt.Errorf("--stage %s and --stage %s: they would be one file in the private directory: want different names", c.Stage[k], file)
		}
	}
	if verb := strings.NewReplacer("%%", "", "%r", "", "%h", "").Replace(c.Output); strings.Contains(verb, "%") {
		return fmt.Errorf("-o %s: want %%r (rank), %%h (host) or %%%%", c.Output)
	}
	for _, x := range c.Env {
		if name, _, _ := strings.Cut(x, "="); strings.Trim(name, "*") == "" {
			return fmt.Errorf("-x %s: want NAME, NAME=value or PREFIX*", x)
		}
	}
	return nil
}

// normalise gives words such as -np and -hostfile, which mpirun and mpiexec take with one dash, two, up to the program's name.
func normalise(f *pflag.FlagSet, args []string) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, "-") || a == "-" || a == "--" {
			return append(out, args[i:]...)
		}
		switch word, _, _ := strings.Cut(a[1:], "="); {
		case len(word) == 1 || strings.HasPrefix(word, "-"):
		// mpiexec's -hosts is a list, Open MPI has files only: what exists is a file.
		case a == "-hosts" && i+1 < len(args) && args[i+1] != "-" && !exists(args[i+1]):
			a = "--host"
		case f.Lookup(word) != nil || elsewhere[word] != "": // what is elsewhere's, flagError tells
			a = "-" + a
		}
		out = append(out, a)
		if takesNext(f, a) && i+1 < len(args) {
			i++
			out = append(out, args[i])
		}
	}
	return out
}

// takesNext says whether the value of the flag is the next argument.
func takesNext(f *pflag.FlagSet, a string) bool {
	var flag *pflag.Flag
	switch {
	case strings.Contains(a, "="):
	case strings.HasPrefix(a, "--"):
		flag = f.Lookup(a[2:])
	case len(a) == 2:
		flag = f.ShorthandLookup(a[1:])
	}
	return flag != nil && flag.NoOptDefVal == ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// The kinds of values. Their errors say what is allowed; flagError puts flag and value before them.

type number struct {
	n   *int
	min int
}

func (v number) String() string { return "" }
func (v number) Type() string   { return "number" }
func (v number) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < v.min || n > maxRanks {
		return fmt.Errorf("want a number from %d to %d", v.min, maxRanks)
	}
	*v.n = n
	return nil
}

type duration struct{ d *time.Duration }

func (v duration) String() string { return "" }
func (v duration) Type() string   { return "duration" }
func (v duration) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.New("want a duration with its unit, such as 30s or 5m")
	}
	*v.d = d
	return nil
}

type stdin struct{ to *int }

func (v stdin) String() string { return "" }
func (v stdin) Type() string   { return "rank" }
func (v stdin) Set(s string) error {
	n, err := strconv.Atoi(s)
	switch {
	case s == "all":
		*v.to = launch.StdinAll
	case s == "none":
		*v.to = launch.StdinNone
	case err != nil || n < 0:
		return errors.New("want a rank, all or none")
	default:
		*v.to = n
	}
	return nil
}

// bin is one file for each platform.
type bin struct{ files *map[string]string }

func (v bin) String() string { return "" }
func (v bin) Type() string   { return "platform=file" }
func (v bin) Set(s string) error {
	platform, file, ok := strings.Cut(s, "=")
	if !ok || file == "" || !strings.Contains(platform, "/") {
		return errors.New("want GOOS/GOARCH=PATH, such as linux/arm64=./prog-arm64")
	}
	if other, ok := (*v.files)[platform]; ok {
		return fmt.Errorf("%s=%s is given already: want one", platform, other)
	}
	if *v.files == nil {
		*v.files = map[string]string{}
	}
	(*v.files)[platform] = file
	return nil
}

// choice is one of a few words: the word itself, or its place among them.
// An empty word is the default, which has no name.
type choice[T string | launch.Order | launch.Label | launch.OnFail] struct {
	v     *T
	words []string
}

func (v choice[T]) String() string { return "" }
func (v choice[T]) Type() string   { return strings.Join(v.words, "|") }
func (v choice[T]) Set(s string) error {
	for i, w := range v.words {
		if s != w || s == "" {
			continue
		}
		switch p := any(v.v).(type) {
		case *string:
			*p = w
		case *launch.Order:
			*p = launch.Order(i)
		case *launch.Label:
			*p = launch.Label(i)
		case *launch.OnFail:
			*p = launch.OnFail(i)
		}
		return nil
	}
	return fmt.Errorf("want %s", strings.TrimPrefix(strings.Join(v.words, ", "), ", "))
}

// once is a string that may be given once.
type once struct{ s *string }

func (v once) String() string { return "" }
func (v once) Type() string   { return "string" }
func (v once) Set(s string) error {
	switch {
	case s == "":
		return errors.New("want a name")
	case *v.s != "":
		return fmt.Errorf("%s is given already: want one", *v.s)
	}
	*v.s = s
	return nil
}
