// Package build makes a bundle: it compiles every pinned component from its Go module, takes
// userland from Debian packages, and writes one OCI image layout.
//
// A build is a graph of units. A unit's key is the hash of everything that goes into it, so a
// unit whose directory is in the cache is never made again, an interrupted build goes on where it
// stopped, and what does not depend on each other is made at the same time.
//
// Not in it: which versions (images/pins), and reading, verifying or unpacking (images).
package build
