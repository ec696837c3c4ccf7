// Package engine runs a list of steps on one host: it looks at what is there, changes what
// differs, and remembers what was there before so that it can be put back.
//
// A [Step] is a value with the names of the steps it needs; [Run] runs the steps as a graph,
// those that do not need each other at the same time. The [Journal] holds the state before
// each change, and [Host] is the way to change files, kernel settings and units, because it
// writes the journal first. (Programs of the bundle come by images.Extract, which leaves a stamp
// of what it put where.)
//
// Not in it: what a node consists of (package node) and how events are shown (package cmd).
package engine
