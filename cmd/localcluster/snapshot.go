package localcluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
	"slipway.dev/slipway/internal/treecopy"
	"slipway.dev/slipway/providers/local"
)

// Snapshot is a cluster as it was at one instant. It lies in snapshots/<cluster>/<name>/ beside the clusters, and outlives its own.
// Its directory is complete, as it gets its name last.
type Snapshot struct {
	Version int       `json:"v"`
	Cluster string    `json:"cluster"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// Frozen is how long nothing in the cluster ran, in seconds; 0 if it was stopped or paused.
	Frozen float64 `json:"frozen"`
	// Record is that of the cluster. It holds no secret, other than the files beside it.
	Record   Record           `json:"record"`
	Machines map[string]*Copy `json:"machines"`

	dir  string
	lock *flock.Lock
}

// Copy is the disk of a machine in a snapshot.
type Copy struct {
	treecopy.Size
	Digest string `json:"digest"`
}

const snapshotVersion = 1

// SnapshotOptions say which snapshot of which cluster.
type SnapshotOptions struct {
	Name, Snapshot string
	Wait           time.Duration // of a restoration, until everything is ready
	Kubeconfig     string        // the file that a restored cluster's context is merged into
}

func (o SnapshotOptions) validate() error {
	errs := []error{CheckName(o.Name)}
	if !nameRule.MatchString(o.Snapshot) {
		errs = append(errs, fault.New("name-invalid", fmt.Sprintf("use the name %q", o.Snapshot),
			errors.New("a snapshot's name has 1 to 32 lower-case letters, digits and hyphens, and begins with a letter"), "choose another name"))
	}
	return errors.Join(append(errs, local.CheckRoot())...)
}

func snapshotsOf(d Dirs, cluster string) string { return filepath.Join(d.State, "snapshots", cluster) }

// unfinished is where the one snapshot of a cluster is that is being made or deleted; no snapshot can have such a name.
func unfinished(d Dirs, cluster, what string) string {
	return filepath.Join(snapshotsOf(d, cluster), "."+what)
}

func (s *Snapshot) file(name string) string    { return filepath.Join(s.dir, name) }
func (s *Snapshot) machine(name string) string { return filepath.Join(s.dir, "machines", name) }
func (s *Snapshot) manifest() string           { return s.file("snapshot.json") }
func (s *Snapshot) ref() string                { return s.Cluster + "/" + s.Name }
func snapshotAt(d Dirs, cluster, name string) string {
	return filepath.Join(snapshotsOf(d, cluster), name)
}

// Size is what all machines' disks consist of.
func (s *Snapshot) Size() (sum treecopy.Size) {
	for _, m := range s.Machines {
		sum.Add(m.Size)
	}
	return sum
}

// Snapshots gives those of a cluster, of all clusters if name is "", oldest first.
func Snapshots(d Dirs, name string) ([]*Snapshot, error) {
	if err := local.CheckRoot(); err != nil {
		return nil, err
	}
	files, err := snapshotFiles(d, cmp.Or(name, "*"))
	if err != nil {
		return nil, err
	}
	var out []*Snapshot
	for _, f := range files {
		s, err := readSnapshot(filepath.Dir(f))
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Snapshot) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), a.Created.Compare(b.Created))
	})
	return out, nil
}

// snapshotFiles gives the manifests of the complete snapshots of the clusters that match.
func snapshotFiles(d Dirs, clusters string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(snapshotsOf(d, clusters), "[a-z]*", "snapshot.json"))
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return files, nil
}

func readSnapshot(dir string) (*Snapshot, error) {
	s := &Snapshot{dir: dir}
	data, err := os.ReadFile(s.manifest())
	if err == nil {
		err = json.Unmarshal(data, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if s.Version != snapshotVersion || s.Record.Version != recordVersion {
		return nil, fmt.Errorf("read snapshot %q: it has version %d and a record of version %d, this program knows %d and %d",
			s.ref(), s.Version, s.Record.Version, snapshotVersion, recordVersion)
	}
	return s, nil
}

// openSnapshot finds a snapshot and keeps it from being deleted, until it is closed. The faults are snapshot-unknown and snapshot-busy.
func openSnapshot(d Dirs, cluster, name string, mode flock.Mode) (*Snapshot, error) {
	s, err := readSnapshot(snapshotAt(d, cluster, name)) // a lock would make the directory
	if err == nil {
		s, err = lockSnapshot(d, cluster, name, mode)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New("snapshot-unknown", fmt.Sprintf("find snapshot %q", name),
			fmt.Errorf("there is none of that name of cluster %q", cluster), "see `slipway snapshot list`")
	}
	return s, err
}

// lockSnapshot fails with fs.ErrNotExist if the snapshot was deleted just now, and leaves nothing then.
func lockSnapshot(d Dirs, cluster, name string, mode flock.Mode) (*Snapshot, error) {
	dir := snapshotAt(d, cluster, name)
	lock, err := flock.Try(filepath.Join(dir, "lock"), mode)
	if errors.Is(err, flock.ErrHeld) {
		return nil, fault.New("snapshot-busy", fmt.Sprintf("use snapshot %q", cluster+"/"+name),
			errors.New("another slipway is at work with it"), "wait until that has ended")
	}
	if err != nil {
		return nil, err
	}
	s, err := readSnapshot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		lock.Remove()
		_ = os.Remove(dir) // unless somebody else has a lock in it
		removeEmptySnapshots(d, cluster)
		return nil, err
	}
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	s.lock = lock
	return s, nil
}

func (s *Snapshot) close() { s.lock.Unlock() }

// findSnapshot is openSnapshot for a snapshot that is given as CLUSTER/NAME, or by its name if only one cluster has it.
func findSnapshot(d Dirs, ref string) (*Snapshot, error) {
	cluster, name, found := strings.Cut(ref, "/")
	if !found {
		name = cluster
		all, err := Snapshots(d, "")
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(s *Snapshot) bool { return s.Name != name })
		switch len(all) {
		case 0:
			return nil, fault.New("snapshot-unknown", fmt.Sprintf("find snapshot %q", ref), errors.New("no cluster has one of that name"),
				"see `slipway snapshot list`")
		case 1:
			cluster = all[0].Cluster
		default:
			return nil, fault.New("snapshot-ambiguous", fmt.Sprintf("find snapshot %q", ref),
				fmt.Errorf("clusters %q and %q have one of that name", all[0].Cluster, all[1].Cluster), "name it as "+all[0].ref())
		}
	}
	if err := (SnapshotOptions{Name: cluster, Snapshot: name}).validate(); err != nil {
		return nil, err
	}
	return openSnapshot(d, cluster, name, flock.Shared)
}

// DeleteSnapshot removes a snapshot that nobody uses. Clusters that were made of it do not need it.
func DeleteSnapshot(d Dirs, o SnapshotOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	s, err := openSnapshot(d, o.Name, o.Snapshot, flock.Exclusive)
	if err != nil {
		return err
	}
	defer s.close()
	gone := unfinished(d, o.Name, "gone-"+o.Snapshot)
	err = os.RemoveAll(gone)
	if err == nil {
		err = os.Rename(s.dir, gone) // from now on it does not count
	}
	if err == nil {
		err = os.RemoveAll(gone)
	}
	if err != nil {
		return fmt.Errorf("delete snapshot %q: %w", s.ref(), err)
	}
	removeEmptySnapshots(d, o.Name)
	return nil
}

// sweepSnapshots removes what was interrupted. The cluster must be claimed, as one of these may be in the making.
func sweepSnapshots(d Dirs, cluster string) error {
	left, err := filepath.Glob(unfinished(d, cluster, "*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	removeEmptySnapshots(d, cluster)
	return nil
}

func removeEmptySnapshots(d Dirs, cluster string) {
	for _, dir := range []string{snapshotsOf(d, cluster), filepath.Join(d.State, "snapshots"), d.State} {
		_ = os.Remove(dir) // that something is in it is no error
	}
}

// verify reads what was copied. The fault is snapshot-damaged.
func (s *Snapshot) verify(ctx context.Context, name string) error {
	want := s.Machines[name]
	if want == nil {
		return s.damaged(fmt.Errorf("it has no disk of machine %q", name))
	}
	got, err := treecopy.Digest(ctx, s.machine(name), isRead)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && got != want.Digest {
		err = fmt.Errorf("the disk of machine %q has digest %s instead of %s", name, got, want.Digest)
	}
	if err != nil {
		return s.damaged(err)
	}
	return nil
}

func (s *Snapshot) damaged(err error) error {
	return fault.New("snapshot-damaged", fmt.Sprintf("use snapshot %q", s.ref()), err,
		fmt.Sprintf("delete it with `slipway snapshot delete %s %s`", s.Cluster, s.Name))
}

// storeDir is the container runtime's directory among a machine's.
const storeDir = "containerd"

// isRead tells whether a digest covers what is in a file, and not only how large it is: images and containers are large, and most of
// that was verified when the bundle was unpacked.
func isRead(path string) bool {
	rest, ok := strings.CutPrefix(path, "data/"+storeDir+"/")
	return !ok || !images.IsContent(rest)
}

// finalIn tells which files of a machine's directory may be linked.
func finalIn(store string) treecopy.Final {
	final := images.Final(store)
	return func(path string, info fs.FileInfo) bool {
		rest, ok := strings.CutPrefix(path, storeDir+"/")
		return ok && final(rest, info)
	}
}

// copyInto sums up what it has copied.
func copyInto(size *treecopy.Size, store string) local.CopyTree {
	return func(ctx context.Context, from, to string) error {
		final := finalIn(store)
		if filepath.Base(from) != "data" { // the root file system has no images
			final = nil
		}
		n, err := treecopy.Copy(ctx, from, to, final)
		size.Add(n)
		return err
	}
}
