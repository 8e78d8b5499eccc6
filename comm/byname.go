package comm

import (
	"context"
	"fmt"
	"reflect"
	"unsafe"
)

// Submit calls a registered function by name. It takes one argument of the function's type or, where that is a struct,
// the struct's exported fields in order. Name, number and types of arguments, and the type of the result, are checked
// before it returns; a failed check is a future that has failed already. An integer may have another integer type if
// its value fits. Options may follow the arguments.
func Submit[R any](ctx context.Context, name string, args ...any) *Future[R] {
	c, err := find(ctx)
	if err != nil {
		return newFailed[R](err)
	}
	fn, err := registered.lookup(name)
	if err != nil {
		return newFailed[R](err)
	}
	if want := reflect.TypeFor[R](); fn.res.typ != want {
		return newFailed[R](fmt.Errorf("comm: submit %s: it returns %v, not %v", name, fn.res.typ, want))
	}
	args, opts := cutOptions(args)
	arg, err := argument(fn.arg.typ, args)
	if err != nil {
		return newFailed[R](errorf("submit %s: %w", name, err))
	}
	return submitTo[R](ctx, c, fn, arg, fn.options.forOne(opts), anyRank)
}

// cutOptions cuts off the options that end a list of arguments. No argument is an option: functions cannot be encoded.
func cutOptions(args []any) (rest []any, opts []Option) {
	n := len(args)
	for n > 0 {
		if _, ok := args[n-1].(Option); !ok {
			break
		}
		n--
	}
	for _, opt := range args[n:] {
		opts = append(opts, opt.(Option))
	}
	return args[:n], opts
}

// argument makes a value of type t of args and returns where it lies.
func argument(t reflect.Type, args []any) (unsafe.Pointer, error) {
	v := reflect.New(t)
	if len(args) == 1 && set(v.Elem(), args[0]) == nil {
		return v.UnsafePointer(), nil
	}
	if _, ok := opaque(t); t.Kind() != reflect.Struct || ok {
		if len(args) != 1 {
			return nil, fmt.Errorf("have %d arguments, want 1 (%v)", len(args), t)
		}
		return nil, fmt.Errorf("arg 1: %w", set(v.Elem(), args[0]))
	}
	var fields []reflect.Value
	for f := range t.Fields() {
		if f.IsExported() {
			fields = append(fields, v.Elem().FieldByIndex(f.Index))
		}
	}
	if len(args) != len(fields) {
		return nil, fmt.Errorf("have %d arguments, want the %d fields of %v, or one %v", len(args), len(fields), t, t)
	}
	for i, f := range fields {
		if err := set(f, args[i]); err != nil {
			return nil, fmt.Errorf("arg %d: %w", i+1, err)
		}
	}
	return v.UnsafePointer(), nil
}

// set assigns an argument to v, converting integers that fit.
func set(v reflect.Value, arg any) error {
	a := reflect.ValueOf(arg)
	switch {
	case !a.IsValid():
		if v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
			return nil
		}
		return fmt.Errorf("have nil, want %v", v.Type())
	case a.Type().AssignableTo(v.Type()):
		v.Set(a)
		return nil
	case v.CanInt() && a.CanInt() && !v.OverflowInt(a.Int()):
		v.SetInt(a.Int())
		return nil
	case v.CanUint() && a.CanUint() && !v.OverflowUint(a.Uint()):
		v.SetUint(a.Uint())
		return nil
	case v.CanUint() && a.CanInt() && a.Int() >= 0 && !v.OverflowUint(uint64(a.Int())):
		v.SetUint(uint64(a.Int()))
		return nil
	case v.CanInt() && a.CanUint() && a.Uint() <= 1<<63-1 && !v.OverflowInt(int64(a.Uint())):
		v.SetInt(int64(a.Uint()))
		return nil
	case (v.CanInt() || v.CanUint()) && (a.CanInt() || a.CanUint()):
		return fmt.Errorf("%v overflows %v", arg, v.Type())
	}
	return fmt.Errorf("have %v, want %v", a.Type(), v.Type())
}
