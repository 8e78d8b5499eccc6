package coll

import (
	"context"
	"fmt"

	"github.com/pprun/pprun/comm"
)

// Barrier returns when all ranks have called it.
func Barrier(ctx context.Context, c *comm.Comm) error {
	_, err := collective(ctx, c, "Barrier", 0, func(k *call) (none, error) {
		v, err := reduce(k, none{}, func(none, none) none { return none{} })
		if err != nil {
			return v, err
		}
		return bcast(k, v)
	})
	return err
}

type none = struct{}

// Bcast returns the root's v on every rank; what other ranks pass does not matter.
func Bcast[T any](ctx context.Context, c *comm.Comm, root int, v T) (T, error) {
	return collective(ctx, c, rooted[T]("Bcast", root), root, func(k *call) (T, error) { return bcast(k, v) })
}

// Gather returns on the root every rank's v, in order of rank, and nil on the others.
func Gather[T any](ctx context.Context, c *comm.Comm, root int, v T) ([]T, error) {
	return collective(ctx, c, rooted[T]("Gather", root), root, func(k *call) ([]T, error) { return gather(k, v) })
}

// AllGather returns on every rank every rank's v, in order of rank.
func AllGather[T any](ctx context.Context, c *comm.Comm, v T) ([]T, error) {
	return collective(ctx, c, rootless[T]("AllGather"), 0, func(k *call) ([]T, error) {
		all, err := gather(k, v)
		if err != nil {
			return nil, err
		}
		return bcast(k, all)
	})
}

// Scatter returns on rank i the root's vs[i]; what other ranks pass does not matter. The root needs one element for
// each rank.
func Scatter[T any](ctx context.Context, c *comm.Comm, root int, vs []T) (T, error) {
	return collective(ctx, c, rooted[T]("Scatter", root), root, func(k *call) (v T, err error) {
		if k.rank != k.root {
			return recvValue[T](k, k.root)
		}
		if len(vs) != k.size {
			return v, fmt.Errorf("%d elements for %d ranks", len(vs), k.size)
		}
		for rank := range vs {
			if rank == k.root {
				continue
			}
			if err := sendValue(k, rank, vs[rank]); err != nil {
				return v, err
			}
		}
		return vs[k.root], nil
	})
}

// Reduce returns on the root op(v0, op(v1, ...)) over every rank's v, and the zero value on the others. op must be
// associative; it need not be commutative, since values are combined in order of rank. How they are paired depends on
// the number of ranks only, so that sums of floating-point numbers are the same in each run.
func Reduce[T any](ctx context.Context, c *comm.Comm, root int, v T, op func(a, b T) T) (T, error) {
	return collective(ctx, c, rooted[T]("Reduce", root), root, func(k *call) (T, error) {
		var zero T
		v, err := reduce(k, v, op)
		switch {
		case err != nil:
			return zero, err
		case k.root == k.rank && k.rank != 0:
			return recvValue[T](k, 0)
		case k.root != k.rank && k.rank == 0:
			return zero, sendValue(k, k.root, v)
		}
		return v, nil
	})
}

// AllReduce returns on every rank what Reduce returns on its root.
func AllReduce[T any](ctx context.Context, c *comm.Comm, v T, op func(a, b T) T) (T, error) {
	return collective(ctx, c, rootless[T]("AllReduce"), 0, func(k *call) (T, error) {
		v, err := reduce(k, v, op)
		if err != nil {
			return v, err
		}
		return bcast(k, v)
	})
}

// bcast moves the root's v down a binomial tree: a rank at distance r from the root has its parent where the lowest set
// bit of r is cleared.
func bcast[T any](k *call, v T) (T, error) {
	distance := (k.rank - k.root + k.size) % k.size
	bit := 1
	for bit < k.size && distance&bit == 0 {
		bit <<= 1
	}
	var b []byte
	var err error
	if distance == 0 {
		b, err = comm.Encode(v)
	} else {
		b, err = k.recv((k.rank - bit + k.size) % k.size)
	}
	if err != nil {
		return v, err
	}
	for bit >>= 1; bit > 0; bit >>= 1 {
		if distance+bit < k.size {
			if err := k.send((k.rank+bit)%k.size, b); err != nil {
				return v, err
			}
		}
	}
	if distance == 0 {
		return v, nil
	}
	return comm.Decode[T](b)
}

// reduce combines values up a binomial tree to rank 0, and returns the whole there, the zero value elsewhere: in each
// round a rank holds the values of a run of ranks that starts at itself, and takes those of the run that follows.
func reduce[T any](k *call, v T, op func(a, b T) T) (T, error) {
	var zero T
	for bit := 1; bit < k.size; bit <<= 1 {
		if k.rank&bit != 0 {
			return zero, sendValue(k, k.rank-bit, v)
		}
		if k.rank+bit < k.size {
			w, err := recvValue[T](k, k.rank+bit)
			if err != nil {
				return zero, err
			}
			v = op(v, w)
		}
	}
	return v, nil
}

func gather[T any](k *call, v T) ([]T, error) {
	if k.rank != k.root {
		return nil, sendValue(k, k.root, v)
	}
	all := make([]T, k.size)
	for rank := range all {
		if rank == k.root {
			all[rank] = v
			continue
		}
		var err error
		if all[rank], err = recvValue[T](k, rank); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func sendValue[T any](k *call, dst int, v T) error {
	b, err := comm.Encode(v)
	if err != nil {
		return err
	}
	return k.send(dst, b)
}

func recvValue[T any](k *call, src int) (T, error) {
	b, err := k.recv(src)
	if err != nil {
		var zero T
		return zero, err
	}
	v, err := comm.Decode[T](b)
	if err != nil {
		return v, fmt.Errorf("from rank %d: %w", src, err)
	}
	return v, nil
}
