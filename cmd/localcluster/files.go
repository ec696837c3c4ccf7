package localcluster

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/internal/flock"
)

// Kubeconfig is the administrator's kubeconfig. It is a secret.
func (c *Cluster) Kubeconfig() ([]byte, error) {
	data, err := os.ReadFile(c.KubeconfigFile())
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig of cluster %q: %w", c.Name(), err)
	}
	return data, nil
}

// lock keeps two launches or removals of one cluster apart.
func lock(d Dirs, name string) (func(), error) {
	dir := filepath.Join(d.Run, "locks")
	held, err := flock.Try(filepath.Join(dir, "up-"+name), flock.Exclusive)
	if errors.Is(err, flock.ErrHeld) {
		return nil, fault.New("cluster-busy", fmt.Sprintf("work on cluster %q", name),
			errors.New("another slipway is at work on it"), "wait until that has ended")
	}
	if err != nil {
		return nil, fmt.Errorf("work on cluster %q: %w", name, err)
	}
	return func() {
		held.Remove()
		dropSubnetsLock(d)
		_ = os.Remove(dir)
		_ = os.Remove(d.Run) // only when nothing else is in it
	}, nil
}

// copyProgram puts a program at target in one step; an identical inode is not needed, so it is a copy.
func copyProgram(source, target string) error {
	in, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("copy program: %w", err)
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil { //nolint:gosec // becomes a machine's directory
		return fmt.Errorf("copy program: %w", err)
	}
	out, err := os.CreateTemp(filepath.Dir(target), ".new-*")
	if err != nil {
		return fmt.Errorf("copy program: %w", err)
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(0o755), out.Close()); err == nil {
		err = os.Rename(out.Name(), target)
	}
	if err != nil {
		return fmt.Errorf("copy program: %w", err)
	}
	return nil
}

// digest is the beginning of a file's SHA-256, long enough to tell builds apart.
func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read program: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// resolvers are this computer's name servers that machines can reach too: no IPv6, which they do not have, and none on
// loopback.
func resolvers() []string {
	for _, path := range bootstrap.Resolvers() {
		if out := nameServers(path); len(out) > 0 {
			return out
		}
	}
	return nil
}

func nameServers(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && a.Is4() && !a.IsLoopback() {
			out = append(out, fields[1])
		}
	}
	return out
}
