// Package preflight looks at a host before it is made a node: [Checks] is the table of what is looked at, [Run] runs it and
// says all that is wrong at once, with advice. Each check has a name, by which it can be ignored: what it finds is then
// a warning.
//
// A check leaves nothing behind. What must be tried is tried in namespaces that go with the thread that made them, or in a
// file that is removed. The kernel may load a module for that, as it would later.
//
// Not in it: whether a computer can hold machines (package local of the providers), whether what the user asked for makes
// sense in itself, any change to the host (package node).
package preflight
