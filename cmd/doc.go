// Package cmd is the command line: flags, calls, printing. It is the only place that prints, reads the
// environment and turns an error into an exit code. Not in it: anything that decides how a cluster is made.
package cmd
