package comm

import (
	"context"
	"fmt"
	"reflect"
	"unsafe"
)

// Ref stands for a value that Share was given. It is small, and may be part of any argument, result or message.
type Ref[T any] struct{ ref blobRef }

// Share makes a value available to all ranks: what it returns goes into the arguments of tasks in the place of the value,
// which travels when a rank first asks for it, once to each node. v is encoded before Share returns. Programs share what
// is large and needed by many tasks: a model, a table, an index.
func Share[T any](ctx context.Context, v T) (Ref[T], error) {
	c, err := find(ctx)
	if err != nil {
		return Ref[T]{}, err
	}
	b, err := Encode(v)
	if err != nil {
		return Ref[T]{}, errorf("share a %v: %w", reflect.TypeFor[T](), err)
	}
	x, err := c.blobs.share(b)
	if err != nil {
		return Ref[T]{}, errorf("share a %v: %w", reflect.TypeFor[T](), err)
	}
	return Ref[T]{x.ref}, nil
}

// A refKey names a shared value in the memo.
type refKey struct {
	digest digest
	typ    reflect.Type
}

// Get returns the value. A rank fetches and decodes it once, and all that ask for it there get the same, at the same time:
// it must not be changed, nor what it points to. Get fails with a *LostError if the rank that shared it is lost and this
// rank does not have it yet, and with ErrReleased once it was released.
func (r Ref[T]) Get(ctx context.Context) (T, error) {
	var zero T
	c, err := find(ctx)
	if err != nil {
		return zero, err
	}
	typ := reflect.TypeFor[T]()
	if r.ref == (blobRef{}) {
		return zero, fmt.Errorf("comm: get a shared %v: the Ref is zero: it comes from no Share", typ)
	}
	v, err := c.memo.get(ctx, refKey{r.ref.digest, typ}, func(ctx context.Context) (any, error) {
		codec, err := codecOf(typ)
		if err != nil {
			return nil, err
		}
		b, err := c.blobs.shared(ctx, r.ref)
		if err != nil {
			return nil, err
		}
		v := new(T)
		return v, codec.adopt(b, unsafe.Pointer(v))
	})
	if err != nil {
		return zero, errorf("get a shared %v: %w", typ, err)
	}
	return *v.(*T), nil
}

// Release gives the value up, so that no rank need keep it: Get fails from then on, in ranks that have it as well. Values
// that Get has returned stay. What is not released lives until the Comm closes.
func (r Ref[T]) Release(ctx context.Context) error {
	c, err := find(ctx)
	if err != nil {
		return err
	}
	if r.ref != (blobRef{}) {
		c.blobs.giveBack(r.ref)
	}
	return nil
}

// MarshalBinary and UnmarshalBinary let a Ref travel.
func (r Ref[T]) MarshalBinary() ([]byte, error) { return r.ref.append(nil), nil }

func (r *Ref[T]) UnmarshalBinary(b []byte) (err error) {
	r.ref, err = parseBlobRef(b)
	return err
}
