//go:build !linux

package main

import (
	"errors"
	"os"
)

func tap(string) (*os.File, error) {
	return nil, errors.New("wire needs Linux")
}
