package localcluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
	"slipway.dev/slipway/providers/local"
)

// store has what bundles are unpacked to, and the programs of machines: machines share it.
func store(d Dirs) string { return filepath.Join(d.Cache, "store") }

// storeLock is held by who removes something from the store, and shared by those that launch: what they found there must be there until
// they have written down that they use it.
func storeLock(d Dirs) string { return filepath.Join(d.Cache, "store.lock") }

// useStore keeps the store as it is until the cluster that is going to use it has a record, and notes where such records are. If it gets
// none, what was made for that goes again.
func useStore(ctx context.Context, d Dirs) (func(), error) {
	_, err := os.Stat(d.Cache)
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(d.Cache, 0o755); err != nil { //nolint:gosec // there is no secret in it
		return nil, fmt.Errorf("use the cache: %w", err)
	}
	held, err := flock.Wait(ctx, storeLock(d), flock.Shared)
	if err != nil {
		return nil, fmt.Errorf("use the cache: %w", err)
	}
	release := func() {
		held.Unlock()
		leaveStore(d, made)
	}
	if err := noteState(d); err != nil {
		release()
		return nil, fmt.Errorf("use the cache: %w", err)
	}
	return release, nil
}

// leaveStore takes back what useStore made where there is no record. If somebody else uses the store just now, it is left to them:
// another launch takes it back, or there is a record then.
func leaveStore(d Dirs, made bool) {
	if recorded(d) {
		return
	}
	held, err := flock.Try(storeLock(d), flock.Exclusive)
	if err != nil {
		return
	}
	if recorded(d) { // by a launch of another cluster that has ended since
		held.Unlock()
		return
	}
	_ = os.Remove(noteOf(d))
	if err := os.Remove(statesIn(d)); err != nil && !errors.Is(err, fs.ErrNotExist) { // there are other notes
		held.Unlock()
		return
	}
	held.Remove()
	if made {
		_ = os.Remove(d.Cache) // only when nothing is in it
	}
}

// recorded tells whether there is anything among the records that may use the store.
func recorded(d Dirs) bool {
	for _, kind := range []string{"clusters", "snapshots"} {
		found, err := os.ReadDir(filepath.Join(d.State, kind))
		if len(found) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}

// statesIn has a link to each directory with clusters that use this cache.
func statesIn(d Dirs) string { return filepath.Join(d.Cache, "states") }

func noteOf(d Dirs) string {
	sum := sha256.Sum256([]byte(d.State))
	return filepath.Join(statesIn(d), hex.EncodeToString(sum[:6]))
}

// noteState needs the lock: who leaves the store removes what is empty.
func noteState(d Dirs) error {
	if err := os.MkdirAll(statesIn(d), 0o755); err != nil { //nolint:gosec // there is no secret in it
		return err
	}
	err := os.Symlink(d.State, noteOf(d))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// states are all those directories that are still there. The links to others go if nobody is launching, who may be about to make one.
func states(d Dirs, alone bool) ([]string, error) {
	out := []string{d.State}
	links, err := filepath.Glob(filepath.Join(statesIn(d), "*"))
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			return nil, err
		}
		switch _, err := os.Stat(target); {
		case errors.Is(err, fs.ErrNotExist):
			if alone {
				_ = os.Remove(link) // or it stays, and nothing is lost
			}
		case err != nil:
			return nil, err
		case !slices.Contains(out, target):
			out = append(out, target)
		}
	}
	return out, nil
}

// Unused is a directory of the store that nothing uses any more.
type Unused struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// Prune finds what neither a cluster, nor a snapshot, nor a bundle in the cache uses of what was unpacked, and removes it if it
// should. The fault is store-in-use while something is being launched.
func Prune(ctx context.Context, d Dirs, remove bool) ([]Unused, error) {
	if err := local.CheckRoot(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(store(d)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if remove {
		held, err := flock.Try(storeLock(d), flock.Exclusive)
		if errors.Is(err, flock.ErrHeld) {
			return nil, fault.New("store-in-use", fmt.Sprintf("remove what is not used below %q", store(d)),
				errors.New("another slipway is launching something"), "wait until that has ended")
		}
		if err != nil {
			return nil, err
		}
		defer held.Unlock()
	}
	unused, err := unusedIn(d, remove)
	if err != nil || !remove {
		return unused, err
	}
	var out []Unused
	var errs []error
	for _, u := range unused {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		gone, err := removeUnused(u.Path)
		if errs = append(errs, err); gone {
			out = append(out, u)
		}
	}
	return out, errors.Join(errs...)
}

func unusedIn(d Dirs, alone bool) ([]Unused, error) {
	users, err := usersOf(d, alone)
	if err != nil {
		return nil, fmt.Errorf("find out what is used of %q: %w", store(d), err)
	}
	entries, err := os.ReadDir(store(d))
	if err != nil {
		return nil, err
	}
	var out []Unused
	for _, e := range entries {
		if path := filepath.Join(store(d), e.Name()); storeName.MatchString(e.Name()) && !users.have(path) {
			out = append(out, Unused{path, sizeOf(path)})
		}
	}
	return out, nil
}

// storeName is that of an unpacked bundle, or of a program, and of what an interrupted run has left of one.
var storeName = regexp.MustCompile(`^(slipway-)?[0-9a-f]{12}(-[0-9]+)?(\.tmp-.*)?$`)

// users are what may use something of the store.
type users struct {
	records [][]byte
	mounts  []string // the options of all overlays
	kept    []string // what bundles in the cache, and this very program, would be unpacked to again
}

func usersOf(d Dirs, alone bool) (*users, error) {
	var u users
	all, err := states(d, alone)
	if err != nil {
		return nil, err
	}
	for _, state := range all {
		for _, kind := range []string{"clusters/*/cluster.json", "clusters/*/machines/*/machine.json", "snapshots/*/*/snapshot.json"} {
			files, err := filepath.Glob(filepath.Join(state, kind))
			if err != nil {
				return nil, err
			}
			for _, file := range files {
				data, err := os.ReadFile(file)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return nil, err
				}
				u.records = append(u.records, data)
			}
		}
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("overlay"))
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		u.mounts = append(u.mounts, m.VFSOptions)
	}
	bundles, err := filepath.Glob(filepath.Join(pulled(d), "*"))
	for _, dir := range bundles {
		if b, err := images.Open(dir); err == nil { // a damaged one would have to be built or pulled again anyway
			u.kept = append(u.kept, b.UnpackedIn(store(d)))
		}
	}
	self, failed := ownLayerPath(d)
	u.kept = append(u.kept, self)
	return &u, errors.Join(err, failed)
}

// have finds out whether a directory is used. That a record names it is enough, whatever for. Machines of a cluster whose records are
// elsewhere have links to its images.
func (u *users) have(path string) bool {
	text, err := json.Marshal(path)
	if err != nil {
		return true
	}
	named := bytes.TrimSuffix(text, []byte(`"`)) // or something in it
	return slices.Contains(u.kept, path) || linked(path) ||
		slices.ContainsFunc(u.records, func(record []byte) bool { return bytes.Contains(record, named) }) ||
		slices.ContainsFunc(u.mounts, func(options string) bool { return strings.Contains(options, path) })
}

// linked tells whether the images in an unpacked bundle are also those of a machine.
func linked(path string) bool {
	blobs, _ := filepath.Glob(filepath.Join(path, "containerd/io.containerd.content.v1.content/blobs/sha256/*")) // the pattern is well-formed
	for _, blob := range blobs {
		if st, err := os.Lstat(blob); err == nil {
			if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Nlink > 1 {
				return true
			}
		}
	}
	return false
}

func sizeOf(path string) (size int64) {
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be read has no size
		}
		if info, err := e.Info(); err == nil {
			if sys, ok := info.Sys().(*syscall.Stat_t); ok {
				size += sys.Blocks * 512 / int64(max(sys.Nlink, 1)) //nolint:gosec // a number of links
			}
		}
		return nil
	})
	return size
}

// removeUnused takes its name away first: what is half removed must not be taken for whole. Somebody may be unpacking it just now.
func removeUnused(path string) (bool, error) {
	whole, _, left := strings.Cut(path, ".tmp-")
	held, err := flock.Try(whole+".lock", flock.Exclusive)
	if errors.Is(err, flock.ErrHeld) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer held.Remove()
	if !left {
		going := path + ".tmp-going"
		if err := os.RemoveAll(going); err != nil {
			return false, err
		}
		if err := os.Rename(path, going); err != nil {
			return false, err
		}
		path = going
	}
	return true, os.RemoveAll(path)
}
