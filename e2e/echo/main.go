// Command echo is the whole content of the image that the end-to-end tests load: a server that
// says which pod it is, and a client whose exit code says how a request failed. Empty images have
// no shell, and a crashed client must never look like a network policy that blocks.
package main

import (
	"fmt"
	"os"
)

// The exit codes of "get".
const (
	exitOK      = 0
	exitUsage   = 2
	exitName    = 10 // the name did not resolve
	exitRefused = 11
	exitTimeout = 12
	exitStatus  = 13
	exitOther   = 14
)

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		args = []string{"serve"}
	}
	switch {
	case args[0] == "serve" && len(args) == 1:
		return serve()
	case args[0] == "get" && len(args) == 2:
		return get(args[1], "0")
	case args[0] == "get" && len(args) == 3:
		return get(args[1], args[2])
	case args[0] == "load" && len(args) == 2:
		return load(args[1])
	case args[0] == "env" && len(args) == 2:
		fmt.Print(os.Getenv(args[1]))
		return exitOK
	case args[0] == "cat" && len(args) == 2:
		return cat(args[1])
	}
	fmt.Fprintln(os.Stderr, "usage: echo serve | get URL [SOURCE-PORT] | load URL | env NAME | cat FILE")
	return exitUsage
}

func cat(path string) int {
	data, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitOther
	}
	_, _ = os.Stdout.Write(data)
	return exitOK
}
