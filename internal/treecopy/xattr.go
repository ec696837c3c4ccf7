package treecopy

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel's limits on all names of a file's extended attributes together, and on a value.
const (
	maxNames = 64 << 10
	maxValue = 64 << 10
)

// extended copies the extended attributes, an overlay's own among them: without these a directory that hides another one below it
// would show both.
func extended(from, to string) error {
	size, err := unix.Llistxattr(from, nil) // most have none, and need no room for it
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list attributes of %q: %w", from, err)
	}
	names, value := make([]byte, maxNames), make([]byte, maxValue)
	n, err := unix.Llistxattr(from, names)
	if err != nil {
		return fmt.Errorf("list attributes of %q: %w", from, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(from, name, value)
		if err == nil {
			err = unix.Lsetxattr(to, name, value[:n], 0)
		}
		if err != nil {
			return fmt.Errorf("copy attribute %q of %q: %w", name, from, err)
		}
	}
	return nil
}
