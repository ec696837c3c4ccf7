package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const megabyte = 1 << 20

// The shares of a disk, in percent, below which the kubelet removes images and evicts pods if it is not told otherwise:
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
// Nothing works with less than minimumFree.
const (
	collectFree = 15
	evictFree   = 10
	minimumFree = 500 * megabyte
)

// room is what is left on a file system.
type room struct {
	device             uint64
	free, size         uint64 // bytes
	freeInodes, inodes uint64
	readOnly           bool
}

func disk(_ context.Context, h *Host) []Finding {
	evicts := h.evictsForDisk()
	var out []Finding
	seen := map[uint64]bool{} // a file system that holds several is looked at once
	for _, dir := range []string{"/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet", "/"} {
		r, err := roomOf(h.path(dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a worker has no etcd
		}
		if err != nil {
			out = append(out, problem("it cannot be found out how much room there is for %s", dir).because(err))
			continue
		}
		if r.readOnly {
			out = append(out, problem("the file system of %s is mounted read-only", dir).
				advise("look why in the kernel's log (`dmesg`), and mount it for writing again: `mount -o remount,rw %s`", dir))
			continue
		}
		if dir == "/" {
			continue // what grows is above
		}
		if !seen[r.device] {
			out = append(out, judgeRoom(dir, r, evicts))
		}
		seen[r.device] = true
	}
	return out
}

// evictsForDisk is false where the disk is shared with others, and the kubelet was told not to mind.
func (h *Host) evictsForDisk() bool {
	text := strings.TrimSuffix(h.kubeletConfiguration().EvictionHard["nodefs.available"], "%")
	percent, err := strconv.ParseFloat(text, 64)
	return err != nil || percent > 0
}

func roomOf(dir string) (room, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return room{}, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return room{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	block := uint64(s.Bsize) //nolint:gosec // a size
	return room{
		device: st.Dev, free: s.Bavail * block, size: s.Blocks * block, freeInodes: s.Ffree, inodes: s.Files,
		readOnly: s.Flags&unix.ST_RDONLY != 0,
	}, nil
}

func judgeRoom(dir string, r room, evicts bool) Finding {
	percent := uint64(100)
	if r.size > 0 {
		percent = r.free * 100 / r.size
	}
	left := fmt.Sprintf("%d MB (%d %%) are free for %s", r.free/megabyte, percent, dir)
	switch {
	case r.free < minimumFree:
		return problem("only %s", left).why("containers and etcd fail when they cannot write")
	case r.inodes > 0 && r.freeInodes*100 < r.inodes*5:
		return problem("the file system of %s has room for %d more files only", dir, r.freeInodes).advise("remove files, of which there are many")
	case evicts && percent < evictFree:
		return problem("only %s", left).why(fmt.Sprintf("below %d %% the kubelet evicts pods", evictFree))
	case evicts && percent < collectFree:
		return warning("only %s", left).why(fmt.Sprintf("below %d %% the kubelet removes images that no pod uses", collectFree))
	}
	return ok("%s", left)
}
