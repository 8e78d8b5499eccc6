package comm

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"
)

// Func is a registered function. Its methods are safe for concurrent use.
type Func[A, R any] struct {
	fn      *function
	options *optionSet
}

// function is a registered function without its types. It does not change once the registry is frozen.
type function struct {
	name, where string // where it was registered: file:line
	index       uint32 // among all names in order: how frames name it
	arg, res    *codec
	options     *optionSet // given to Register
	// run calls it and appends the encoded result to out. given: arg belongs to it.
	run func(ctx context.Context, arg []byte, given bool, out []byte) ([]byte, error)
}

// Register names f, so that every rank can run it. Call it to set a package-level variable, or in an init function:
//
//	var SumPrimes = comm.Register("sum_primes", sumPrimes)
//
// Function literals and method values will do. The name is what statistics and errors show and what Submit by name
// takes; it must be the same in all ranks. Arguments and results may be numbers, booleans, strings, slices, arrays,
// maps, pointers and structs of these (exported fields only, tags as encoding/json has them), any, time.Time, big.Int, Ref
// and types that marshal themselves (encoding.BinaryMarshaler). What is in an any keeps its value and not its type: every
// integer arrives as int64 (a larger one as big.Int), a time.Duration too, a slice as []any, a struct as map[string]any.
//
// The options are defaults for the function's tasks. Register panics, naming file and line, on an empty or taken name,
// a nil function, a type that cannot be encoded, as one that contains itself, an option with a bad value, and after
// Init or Main.
func Register[A, R any](name string, f func(ctx context.Context, a A) (R, error), opts ...Option) *Func[A, R] {
	fn := &function{name: name, where: caller(1)}
	if fn.options = fn.options.with(opts); fn.options != nil && fn.options.err != nil {
		panic(fmt.Sprintf("comm: Register(%q) at %s: %v", name, fn.where, fn.options.err))
	}
	if f == nil {
		panic(fmt.Sprintf("comm: Register(%q) at %s: the function is nil", name, fn.where))
	}
	var err error
	if fn.arg, err = newCodec(reflect.TypeFor[A]()); err != nil {
		panic(fmt.Sprintf("comm: Register(%q) at %s: argument %v: %v", name, fn.where, reflect.TypeFor[A](), err))
	}
	if fn.res, err = newCodec(reflect.TypeFor[R]()); err != nil {
		panic(fmt.Sprintf("comm: Register(%q) at %s: result %v: %v", name, fn.where, reflect.TypeFor[R](), err))
	}
	fn.run = func(ctx context.Context, arg []byte, given bool, out []byte) ([]byte, error) {
		var a A
		decode := fn.arg.decode
		if given {
			decode = fn.arg.adopt
		}
		if err := decode(arg, unsafe.Pointer(&a)); err != nil {
			return nil, fmt.Errorf("decode the argument: %w", err)
		}
		r, err := f(ctx, a)
		if err != nil {
			return nil, err
		}
		out, err = fn.res.append(out, unsafe.Pointer(&r))
		if err != nil {
			return nil, fmt.Errorf("encode the result: %w", err)
		}
		return out, nil
	}
	registered.add(fn)
	return &Func[A, R]{fn, fn.options}
}

// caller returns file:line of the function's caller, skip calls up.
func caller(skip int) string {
	_, file, line, _ := runtime.Caller(skip + 1)
	return fmt.Sprintf("%s:%d", filepath.Base(file), line)
}

// registered holds all functions of the process.
var registered registry

type registry struct {
	mu     sync.Mutex
	byName map[string]*function
	order  []*function // by name; set when frozen
	frozen string      // where Init or Main was called first
}

const maxNameLen = 1024

func (r *registry) add(fn *function) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case fn.name == "" || len(fn.name) > maxNameLen || !utf8.ValidString(fn.name):
		panic(fmt.Sprintf("comm: Register at %s: name %.40q: want 1 to %d bytes of UTF-8", fn.where, fn.name, maxNameLen))
	case r.frozen != "":
		panic(fmt.Sprintf("comm: Register(%q) at %s comes after the ranks were joined at %s: register in a package-level variable", fn.name, fn.where, r.frozen))
	case r.byName[fn.name] != nil:
		panic(fmt.Sprintf("comm: Register(%q) at %s: the name was taken at %s", fn.name, fn.where, r.byName[fn.name].where))
	}
	if r.byName == nil {
		r.byName = make(map[string]*function)
	}
	r.byName[fn.name] = fn
}

// freeze ends registration and numbers the functions; where is the line of Init or Main.
func (r *registry) freeze(where string) []*function {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen != "" {
		return r.order
	}
	r.frozen = where
	for _, fn := range r.byName {
		r.order = append(r.order, fn)
	}
	slices.SortFunc(r.order, func(a, b *function) int { return strings.Compare(a.name, b.name) })
	for i, fn := range r.order {
		fn.index = uint32(i)
	}
	return r.order
}

// lookup finds a function by name. The error lists the names there are, those like it first.
func (r *registry) lookup(name string) (*function, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if fn := r.byName[name]; fn != nil {
		return fn, nil
	}
	names := slices.Sorted(maps.Keys(r.byName))
	slices.SortStableFunc(names, func(a, b string) int { return likeness(b, name) - likeness(a, name) })
	list := strings.Join(names[:min(10, len(names))], ", ")
	if len(names) > 10 {
		list += ", .."
	}
	return nil, fmt.Errorf("comm: no function %q is registered (%d are: %s)", name, len(names), list)
}

// likeness is how many bytes two names share at their beginnings and their ends.
func likeness(a, b string) int {
	n, first, last := min(len(a), len(b)), 0, 0
	for first < n && a[first] == b[first] {
		first++
	}
	for last < n-first && a[len(a)-1-last] == b[len(b)-1-last] {
		last++
	}
	return first + last
}

// A signature is what ranks must have in common of a function.
type signature struct{ Name, Arg, Res string }

func signatures(fns []*function) []signature {
	list := make([]signature, len(fns))
	for i, fn := range fns {
		list[i] = signature{fn.name, fn.arg.schema, fn.res.schema}
	}
	return list
}

// fingerprint digests signatures in order of name.
func fingerprint(list []signature) []byte {
	h := sha256.New()
	for _, s := range list {
		fmt.Fprintf(h, "%q %q %q\n", s.Name, s.Arg, s.Res)
	}
	return h.Sum(nil)
}

// difference says in what the functions of a rank differ from those of rank 0, "" if in nothing.
func difference(hub, rank []signature) string {
	theirs := make(map[string]signature, len(rank))
	for _, s := range rank {
		theirs[s.Name] = s
	}
	for _, s := range hub {
		t, ok := theirs[s.Name]
		switch {
		case !ok:
			return fmt.Sprintf("it does not register %q", s.Name)
		case t.Arg != s.Arg:
			return fmt.Sprintf("its %q takes %s, that of rank 0 takes %s", s.Name, t.Arg, s.Arg)
		case t.Res != s.Res:
			return fmt.Sprintf("its %q returns %s, that of rank 0 returns %s", s.Name, t.Res, s.Res)
		}
		delete(theirs, s.Name)
	}
	for name := range theirs {
		return fmt.Sprintf("it registers %q, which rank 0 does not", name)
	}
	return ""
}
