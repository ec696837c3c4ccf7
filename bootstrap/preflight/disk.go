package preflight

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// containerdDir is where images and containers lie.
const containerdDir = "/var/lib/containerd"

func disk(_ context.Context, f Facts) []Finding {
	var out []Finding
	seen := map[uint64]bool{} // a file system that holds both is looked at once
	for _, dir := range []string{f.StateDir, containerdDir} {
		device, free, err := room(existing(f.path(dir)))
		if err != nil {
			out = append(out, problem("it cannot be found out how much room there is for %q: %v", dir, err))
			continue
		}
		if seen[device] {
			continue
		}
		seen[device] = true
		if free < f.DiskNeeded {
			out = append(out, problem("there are %d MB free for %q; %d MB are needed", free/megabyte, dir, f.DiskNeeded/megabyte))
		}
	}
	return out
}

// room gives the file system that a directory is on, and what is free there for all but root.
func room(dir string) (device, free uint64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, 0, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return st.Dev, fs.Bavail * uint64(fs.Bsize), nil
}

// existing gives the nearest directory above that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// etcd wants 99 of 100 writes on disk within 10 ms: https://etcd.io/docs/v3.6/faq/
// A heartbeat goes out each 100 ms: with a disk slower than that, members lose their leader again and again.
const (
	etcdSlow    = 10 * time.Millisecond
	etcdTooSlow = 100 * time.Millisecond
)

// A measurement is 20 of the small writes that etcd's log consists of, or as many as the time lets be.
const (
	syncWrites = 20
	syncSize   = 8 << 10
	syncLimit  = 2 * time.Second
)

func etcdDisk(ctx context.Context, f Facts) []Finding {
	if !f.ControlPlane || f.ExternalEtcd != nil {
		return nil
	}
	dir := existing(f.path(f.EtcdDir))
	ctx, cancel := context.WithTimeout(ctx, syncLimit)
	defer cancel()
	median, err := SyncLatency(ctx, dir, syncWrites)
	if err != nil {
		return []Finding{problem("it cannot be found out how fast the disk below %q is: %v", dir, err)}
	}
	return judgeLatency(dir, median)
}

func judgeLatency(dir string, median time.Duration) []Finding {
	switch {
	case median > etcdTooSlow:
		return []Finding{problem("a small write below %q takes %s to be on disk; etcd wants less than %s and does not work with more than %s",
			dir, median.Round(time.Millisecond), etcdSlow, etcdTooSlow)}
	case median > etcdSlow:
		return []Finding{warning("a small write below %q takes %s to be on disk; etcd wants less than %s",
			dir, median.Round(100*time.Microsecond), etcdSlow)}
	}
	return nil
}

// SyncLatency is the median of the times that n small writes to a file in dir take until they are on disk. When the context
// ends, it is that of the writes until then; a write that is not done by then counts as one that took as long as
// it was waited for.
func SyncLatency(ctx context.Context, dir string, n int) (time.Duration, error) {
	file, err := os.CreateTemp(dir, scratch+"*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())  // not sooner: a file system may have nothing to do for a file without a name
	writes := make(chan write, n) // never full: who writes to a disk that hangs is not waited for
	go writeSynced(ctx, file, n, writes)
	var times []time.Duration
	for start := time.Now(); len(times) < n; {
		select {
		case w := <-writes:
			if w.err != nil {
				return 0, w.err
			}
			times = append(times, w.took)
			start = time.Now()
		case <-ctx.Done():
			return median(append(times, time.Since(start))), nil
		}
	}
	return median(times), nil
}

type write struct {
	took time.Duration
	err  error
}

func writeSynced(ctx context.Context, file *os.File, n int, out chan<- write) {
	defer file.Close()
	data := make([]byte, syncSize)
	for range n {
		if ctx.Err() != nil {
			return
		}
		start := time.Now()
		_, err := file.Write(data)
		if err == nil {
			err = unix.Fdatasync(int(file.Fd()))
		}
		out <- write{time.Since(start), err}
		if err != nil {
			return
		}
	}
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
