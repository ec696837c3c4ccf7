package localcluster

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
	"slipway.dev/slipway/internal/testenv"
	"slipway.dev/slipway/providers/local"
)

// pruned is a cache of which some is used, by clusters whose records are in two places.
func pruned(t *testing.T) Dirs {
	t.Helper()
	if err := local.CheckRoot(); err != nil {
		testenv.Lacks(t, "%v", err)
	}
	d := Dirs{Cache: t.TempDir(), State: filepath.Join(t.TempDir(), "state")}
	other := Dirs{Cache: d.Cache, State: filepath.Join(t.TempDir(), "other")}
	release, err := useStore(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	defer release() // when there are records
	self, err := ownLayerPath(d)
	if err != nil {
		t.Fatal(err)
	}
	const blobs = "containerd/io.containerd.content.v1.content/blobs/sha256/"
	for _, file := range []string{
		"000000000001/files/x", "000000000002/rootfs/x", "000000000003/rootfs/x", "000000000004/" + blobs + "x", "000000000005/" + blobs + "x",
		"slipway-000000000006/usr/x", "slipway-000000000007/usr/x", "000000000001.tmp-123/x", "000000000008/x", "somebody-elses/x",
		"000000000009-2/rootfs/x", "00000000000a-2/rootfs/x", "00000000000a-2.tmp-123/x",
		filepath.Base(self) + "/usr/x",
	} {
		path := filepath.Join(store(d), file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, make([]byte, 5000), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	uses := func(file, layer string) {
		t.Helper()
		if err := writeJSON(file, map[string]any{"layers": []string{filepath.Join(store(d), layer)}}); err != nil {
			t.Fatal(err)
		}
	}
	uses(filepath.Join(d.State, "clusters/one/cluster.json"), "000000000001/files")
	uses(filepath.Join(d.State, "clusters/three/cluster.json"), "000000000009-2/rootfs")
	uses(filepath.Join(d.State, "snapshots/gone/first/snapshot.json"), "000000000002/rootfs")
	uses(filepath.Join(other.State, "clusters/two/cluster.json"), "000000000003/rootfs")
	uses(filepath.Join(other.State, "clusters/two/machines/a/machine.json"), "slipway-000000000006")
	if err := os.Link(filepath.Join(store(d), "000000000004", blobs, "x"), filepath.Join(d.State, "of-a-machine")); err != nil {
		t.Fatal(err)
	}
	return d
}

func unusedNames(list []Unused) (names []string) {
	for _, u := range list {
		names = append(names, filepath.Base(u.Path))
	}
	return names
}

func TestPrune(t *testing.T) {
	d := pruned(t)
	before, err := os.ReadDir(store(d))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"000000000001.tmp-123", "000000000005", "000000000008", "00000000000a-2", "00000000000a-2.tmp-123", "slipway-000000000007",
	}
	list, err := Prune(t.Context(), d, false)
	if got := unusedNames(list); err != nil || !slices.Equal(got, want) || list[0].Size < 5000 {
		t.Errorf("unused %v, %v", list, err)
	}
	if after, err := os.ReadDir(store(d)); err != nil || len(after) != len(before) {
		t.Errorf("something was removed: %v, %v", after, err)
	}

	unpacking, err := flock.Try(filepath.Join(store(d), "000000000008.lock"), flock.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	if list, err = Prune(t.Context(), d, true); err != nil || !slices.Equal(unusedNames(list), slices.Concat(want[:2], want[3:])) {
		t.Errorf("removed %v, %v", list, err)
	}
	unpacking.Remove()
	if list, err = Prune(t.Context(), d, true); err != nil || !slices.Equal(unusedNames(list), []string{want[2]}) {
		t.Errorf("removed then %v, %v", list, err)
	}
	for _, name := range want {
		if _, err := os.Stat(filepath.Join(store(d), name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	if after, err := os.ReadDir(store(d)); err != nil || len(after) != len(before)-len(want) {
		t.Errorf("left: %v, %v", after, err)
	}
}

// TestStoreName: what bundles are unpacked to is what is looked for.
func TestStoreName(t *testing.T) {
	b, err := images.Open(string(testenv.NeedBundle(t)))
	if err != nil {
		t.Fatal(err)
	}
	if name := filepath.Base(b.UnpackedIn("store")); !storeName.MatchString(name) {
		t.Errorf("%s is not looked for", name)
	}
}

// TestPruneWhileLaunching: what a launch has found stays until it has a record.
func TestPruneWhileLaunching(t *testing.T) {
	d := pruned(t)
	release, err := useStore(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	var f *fault.Error
	if list, err := Prune(t.Context(), d, true); !errors.As(err, &f) || f.ID != "store-in-use" || list != nil {
		t.Errorf("%v, %v", list, err)
	}
	release()
	if list, err := Prune(t.Context(), d, true); err != nil || len(list) == 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestPruneStateGone: a directory with clusters that was deleted is forgotten.
func TestPruneStateGone(t *testing.T) {
	d := pruned(t)
	all, err := states(d, false)
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	if err := os.RemoveAll(all[1]); err != nil {
		t.Fatal(err)
	}
	list, err := Prune(t.Context(), d, false)
	if left, _ := os.ReadDir(statesIn(d)); len(left) != 1 {
		t.Errorf("somebody may be about to make it: %v", left)
	}
	if got := unusedNames(list); err != nil || !slices.Contains(got, "000000000003") || !slices.Contains(got, "slipway-000000000006") {
		t.Errorf("unused %q, %v", got, err)
	}
	if _, err := Prune(t.Context(), d, true); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(statesIn(d)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestUseStoreLeavesNothing: a launch that comes to nothing takes back what it made to use the cache.
func TestUseStoreLeavesNothing(t *testing.T) {
	d := Dirs{Cache: filepath.Join(t.TempDir(), "cache"), State: t.TempDir()}
	use := func(d Dirs) func() {
		t.Helper()
		release, err := useStore(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	there := func(what string, want bool, paths ...string) {
		t.Helper()
		for _, path := range paths {
			if _, err := os.Lstat(path); (err == nil) != want {
				t.Errorf("%s: %s is there: %v", what, path, err == nil)
			}
		}
	}
	use(d)()
	there("alone", false, d.Cache)

	first := use(d)
	second := use(Dirs{Cache: d.Cache, State: t.TempDir()})
	first()
	there("beside another launch", true, storeLock(d), noteOf(d))
	second()
	there("the other's own", true, storeLock(d), noteOf(d)) // the first one's note has been left
	use(d)()
	there("next time", false, storeLock(d), statesIn(d))
	there("of who did not make it", true, d.Cache)

	release := use(d)
	if err := writeJSON(filepath.Join(d.State, "clusters/one/cluster.json"), "record"); err != nil {
		t.Fatal(err)
	}
	release()
	there("with a record", true, storeLock(d), noteOf(d))
	use(Dirs{Cache: d.Cache, State: t.TempDir()})()
	there("another's", true, storeLock(d), noteOf(d))
	if links, err := os.ReadDir(statesIn(d)); err != nil || len(links) != 1 {
		t.Errorf("notes: %v, %v", links, err)
	}
}

// TestUseStoreAtOnce: whoever uses the cache has its note there, and nobody removes anything from the store, though others leave.
func TestUseStoreAtOnce(t *testing.T) {
	d := Dirs{Cache: filepath.Join(t.TempDir(), "cache"), State: filepath.Join(t.TempDir(), "state")}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				release, err := useStore(t.Context(), d)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Lstat(noteOf(d)); err != nil {
					t.Error(err)
				}
				if _, err := flock.Try(storeLock(d), flock.Exclusive); !errors.Is(err, flock.ErrHeld) {
					t.Errorf("somebody may remove from the store: %v", err)
				}
				release()
			}
		})
	}
	wg.Wait()
	release, err := useStore(t.Context(), d) // alone: it takes back what others have left to each other
	if err != nil {
		t.Fatal(err)
	}
	release()
	if _, err := os.Lstat(storeLock(d)); err == nil {
		t.Error("the lock is left")
	}
}
