// Command uname is uname -sm: as a program for another platform it prints what the emulator says.
package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func main() {
	var u unix.Utsname
	unix.Uname(&u)
	fmt.Println(unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Machine[:]))
}
