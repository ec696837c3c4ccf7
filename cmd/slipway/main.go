// Command slipway launches Kubernetes clusters.
package main

import (
	"os"

	"slipway.dev/slipway/cmd"
)

func main() { os.Exit(cmd.Main(os.Args[1:])) }
