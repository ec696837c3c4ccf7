// Package treecopy copies directory trees so that the copy costs as little as the file system allows: files that nobody writes to
// any more are linked, others share their blocks until one of the two is written to, and where that cannot be they are copied
// without their holes. It knows nothing of what the files are.
package treecopy
