package localcluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"slipway.dev/slipway/bootstrap/doctor"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// exportLimit is how much of the end of each log is exported.
const exportLimit = 8 << 20

// Export collects in a new directory what a report of a bug needs: logs, findings, objects and the record of the cluster. There
// are no Secrets in it, and what looks like a secret elsewhere is taken out. What could not be had is said in problems.txt.
// The faults are export-exists and export-failed.
func (c *Cluster) Export(ctx context.Context, dir, version string) error {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); err == nil {
		return fault.New("export-exists", fmt.Sprintf("export to %q", dir), errors.New("something of that name is there already"),
			"name a directory that is not there yet")
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".*") // mode 0700
	if err == nil {
		defer os.RemoveAll(tmp)
		x := &export{cluster: c, dir: tmp}
		x.collect(ctx, version)
		err = errors.Join(context.Cause(ctx), x.err)
	}
	if err == nil {
		err = os.Rename(tmp, dir) // all of it or nothing
	}
	if err != nil {
		return fault.New("export-failed", fmt.Sprintf("export to %q", dir), err, "choose another directory, or free some space")
	}
	return nil
}

// export is one that is under way.
type export struct {
	cluster *Cluster
	dir     string

	mu       sync.Mutex
	problems []string
	err      error // of writing: it would not be whole
}

// missing notes what could not be had.
func (x *export) missing(what string, err error) {
	if err == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.problems = append(x.problems, doctor.Redact(fmt.Sprintf("%s: %v", what, err)))
}

// put writes one file, without what looks like a secret.
func (x *export) put(name string, data []byte) {
	file := filepath.Join(x.dir, filepath.FromSlash(name))
	err := os.MkdirAll(filepath.Dir(file), 0o700)
	if err == nil {
		err = os.WriteFile(file, []byte(doctor.Redact(string(data))), 0o600)
	}
	if err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.err = errors.Join(x.err, err)
	}
}

func (x *export) putJSON(name string, v any) {
	data, err := json.MarshalIndent(v, "", "  ")
	x.missing(name, err)
	if err == nil {
		x.put(name, append(data, '\n'))
	}
}

func (x *export) collect(ctx context.Context, version string) {
	c := x.cluster
	x.put("version.txt", fmt.Appendf(nil, "slipway %s, Kubernetes %s, %s\n", version, c.Cluster.KubernetesVersion, kernelVersion()))
	x.putJSON("cluster.json", c.Record) // it holds no secret
	d, err := c.Examine(ctx)
	x.missing("doctor.json", err)
	if err == nil {
		x.putJSON("doctor.json", d)
	}
	machines, err := c.Machines(ctx)
	x.missing("machines", err)
	var wg sync.WaitGroup
	for _, m := range machines {
		wg.Go(func() { x.machine(ctx, m) })
	}
	if !c.Bare {
		wg.Go(func() { x.objects(ctx) })
	}
	wg.Wait()
	if len(x.problems) > 0 {
		slices.Sort(x.problems)
		x.put("problems.txt", []byte(strings.Join(x.problems, "\n")+"\n"))
	}
}

func kernelVersion() string {
	data, err := os.ReadFile("/proc/version")
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data))
}

// nodeFiles are what is asked for on each node: a file of the export, and the command that prints it there.
func nodeFiles() map[string][]string {
	return map[string][]string{
		"journal.log":    {"journalctl", "--no-pager", "--no-hostname"},
		"kubelet.log":    {"journalctl", "--no-pager", "--no-hostname", "--unit", "kubelet"},
		"containerd.log": {"journalctl", "--no-pager", "--no-hostname", "--unit", "containerd"},
		"units.txt":      {"systemctl", "--no-pager", "list-units", "--all"},
		"processes.txt":  {"ps", "axfo", "pid,stat,etime,rss,comm"}, // arguments may hold anything
		"disks.txt":      {"df", "-h"},
		"mounts.txt":     {"cat", "/proc/self/mountinfo"},
		"network.txt": {"sh", "-c", "for c in 'ip -d link' 'ip address' 'ip route show table all' 'ip rule' 'ip neighbour' 'nft list ruleset' " +
			"'iptables-save' 'ss -tulpn'; do echo \"# $c\"; $c 2>&1; done"},
	}
}

// machine collects what is on one machine. Of one that does not run, only what its systemd said is at hand.
func (x *export) machine(ctx context.Context, m *local.Machine) {
	home := path.Join("nodes", m.Name())
	if data, err := tailOf(filepath.Join(filepath.Dir(m.Dir()), "console.log")); err == nil {
		x.put(path.Join(home, "console.log"), data)
	}
	if !m.Running() {
		x.missing(m.Name(), fmt.Errorf("its machine is %s, so that its logs cannot be had", m.State()))
		return
	}
	for name, args := range nodeFiles() {
		x.run(ctx, m, path.Join(home, name), args...)
	}
	for root, pattern := range map[string]string{"/var/log/pods": "*.log", "/etc/kubernetes/manifests": "*.yaml"} {
		var list strings.Builder
		args := []string{"find", root, "-type", "f", "-name", pattern}
		if err := m.Run(ctx, local.Command{Args: args, Stdout: &list}); err != nil {
			if !x.cluster.Bare {
				x.missing(m.Name()+": "+root, err)
			}
			continue
		}
		for _, file := range strings.Fields(list.String()) {
			x.run(ctx, m, path.Join(home, path.Base(root), path.Clean(strings.TrimPrefix(file, root))), "cat", file)
		}
	}
}

// run writes the end of what a program prints.
func (x *export) run(ctx context.Context, m *local.Machine, name string, args ...string) {
	var out lastBytes
	err := m.Run(ctx, local.Command{Args: args, Stdout: &out})
	x.missing(name, err)
	x.put(name, out.data())
}

// lastBytes keeps the end of what is written to it, in whole lines.
type lastBytes struct {
	buf bytes.Buffer
	cut bool
}

func (l *lastBytes) Write(p []byte) (int, error) {
	if l.buf.Len() > 2*exportLimit {
		l.buf.Next(l.buf.Len() - exportLimit)
		l.cut = true
	}
	return l.buf.Write(p)
}

func (l *lastBytes) data() []byte {
	all := l.buf.Bytes()
	if len(all) > exportLimit {
		all, l.cut = all[len(all)-exportLimit:], true
	}
	if !l.cut {
		return all
	}
	_, all, _ = bytes.Cut(all, []byte("\n"))
	return append([]byte("(what was before this is left out)\n"), all...)
}

func tailOf(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(-exportLimit, io.SeekEnd); err != nil { // shorter than that
		_, _ = f.Seek(0, io.SeekStart)
	}
	return io.ReadAll(io.LimitReader(f, exportLimit))
}
