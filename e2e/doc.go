// Package e2e holds the end-to-end tests: bin/slipway as a user runs it, on real clusters, inside a
// network namespace of their own, without egress.
//
// Not in it: tests of one package's inside, which lie beside the package.
package e2e
