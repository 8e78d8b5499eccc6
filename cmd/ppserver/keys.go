package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/pprun/pprun/launch/door"
)

// keygen makes the keys that are missing.
func keygen(o *options) error {
	ring, err := o.keyring()
	if err != nil {
		return err
	}
	made, err := ring.Generate(o.secret)
	if err != nil {
		return err
	}
	for _, file := range made {
		fmt.Println("made", file)
	}
	if len(made) == 0 {
		fmt.Println("nothing to make: the keys are there")
	}
	fmt.Println("server key", door.Fingerprint(ring.Server().Public()))
	fmt.Println("To let this user in on a server with keys of its own, run there:")
	fmt.Printf("  ppserver authorize '%s'\n", door.FormatPublic(ring.Client().Public()))
	return nil
}

// authorize lets another client in.
func authorize(o *options) error {
	ring, err := o.keyring()
	if err != nil {
		return err
	}
	text := strings.Join(o.args, " ")
	if text == "-" {
		if text, err = bufio.NewReader(os.Stdin).ReadString('\n'); text == "" {
			return fmt.Errorf("standard input: %w", err)
		}
	}
	key, comment, err := door.ParsePublic(text)
	if err != nil {
		return usageError{err}
	}
	if err := ring.Authorize(key, comment); err != nil {
		return err
	}
	fmt.Println("authorized", door.Fingerprint(key)+": a running ppserver reads it on SIGHUP")
	return nil
}
