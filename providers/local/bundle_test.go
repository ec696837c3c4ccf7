package local_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"slipway.dev/slipway/internal/testenv"
)

// materials are what machines are made from: a root file system and runc, from a bundle.
type materials struct {
	dir string
	err error
}

func (m materials) rootfs() string { return filepath.Join(m.dir, "rootfs") }
func (m materials) runc() string   { return filepath.Join(m.dir, "runc/usr/local/sbin/runc") }

// unpacked unpacks once for all tests, into a directory that TestMain makes and removes.
var unpacked = sync.OnceValue(func() materials {
	m := materials{dir: os.Getenv(scratch)}
	bundle, err := testenv.FindBundle()
	if err == nil {
		err = errors.Join(bundle.Extract("machine-rootfs", m.rootfs()), bundle.Extract("runc", filepath.Join(m.dir, "runc")))
	}
	m.err = err
	return m
})

// needMachines skips a test that makes machines where that is impossible, unless it must run.
func needMachines(t *testing.T) materials {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Lacks(t, "needs root")
	}
	m := unpacked()
	if m.err != nil {
		testenv.Lacks(t, "needs a bundle: %v", m.err)
	}
	return m
}
