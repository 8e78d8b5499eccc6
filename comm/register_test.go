package comm

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unsafe"
)

// TestRegisterRefuses registers what cannot be, in a registry of its own: each panics with the line it stands on.
func TestRegisterRefuses(t *testing.T) {
	byName, order, frozen := registered.byName, registered.order, registered.frozen
	registered.byName, registered.order, registered.frozen = nil, nil, ""
	defer func() { registered.byName, registered.order, registered.frozen = byName, order, frozen }()

	one := func(context.Context, int) (int, error) { return 0, nil }
	for _, c := range []struct {
		want string
		f    func()
	}{
		{"", func() { Register("taken", one) }},
		{`^comm: Register\("taken"\) at register_test.go:\d+: the name was taken at register_test.go:\d+$`, func() { Register("taken", one) }},
		{`^comm: Register at register_test.go:\d+: name "": want 1 to 1024 bytes of UTF-8$`, func() { Register("", one) }},
		{`name "x{38}.*": want 1 to 1024 bytes of UTF-8$`, func() { Register(strings.Repeat("x", 10<<10), one) }},
		{`name "a\\xffb": want`, func() { Register("a\xffb", one) }},
		{`at register_test.go:\d+: the function is nil$`, func() { Register[int, int]("nil", nil) }},
		{`argument chan int: chan int cannot be encoded$`, func() { Register("chan", func(context.Context, chan int) (int, error) { return 0, nil }) }},
		{`result func\(\): func\(\) cannot be encoded$`, func() { Register("func", func(context.Context, int) (func(), error) { return nil, nil }) }},
		{`argument struct .*: \.P: unsafe.Pointer cannot be encoded$`, func() {
			Register("unsafe", func(context.Context, struct{ P unsafe.Pointer }) (int, error) { return 0, nil })
		}},
		{`: comm.node contains itself: a cyclic type cannot be encoded$`, func() { Register("cyclic", func(context.Context, node) (int, error) { return 0, nil }) }},
		{"", func() { registered.freeze("main.go:7") }},
		{`^comm: Register\("late"\) at register_test.go:\d+ comes after the ranks were joined at main.go:7: register in a package-level variable$`,
			func() { Register("late", one) }},
	} {
		said := func() (said any) {
			defer func() { said = recover() }()
			c.f()
			return nil
		}()
		if (said != nil) != (c.want != "") || !regexp.MustCompile(c.want).MatchString(fmt.Sprint(said)) {
			t.Errorf("%v, want %q", said, c.want)
		}
	}
}

// Those like it come first.
func TestUnknownName(t *testing.T) {
	var r registry
	for i := range 26 {
		r.add(&function{name: fmt.Sprintf("%c_function", 'a'+i), where: "here"})
	}
	r.add(&function{name: "sum_primes", where: "here"})
	for name, want := range map[string]string{
		"sum_prims": `comm: no function "sum_prims" is registered (27 are: sum_primes, s_function, a_function, `,
		"z_funtion": `comm: no function "z_funtion" is registered (27 are: z_function, a_function, `,
	} {
		if _, err := r.lookup(name); err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), ", ..)") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
