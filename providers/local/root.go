package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/fault"
)

// home is the layout of a machine's directory.
type home string

func (h home) root() string   { return filepath.Join(string(h), "rootfs") }
func (h home) upper() string  { return filepath.Join(string(h), "upper") }
func (h home) work() string   { return filepath.Join(string(h), "work") }
func (h home) data() string   { return filepath.Join(string(h), "data") }
func (h home) bundle() string { return filepath.Join(string(h), "runc") }
func (h home) key() string    { return filepath.Join(string(h), "ssh_host_ed25519_key") }

func (p *Provider) home(s MachineSpec) home { return home(p.machineHome(s.Cluster, s.Name)) }

// makeRoot mounts a machine's root file system and writes what is its own into it.
func (p *Provider) makeRoot(s *machineState) error {
	h := p.home(s.Spec)
	if err := os.RemoveAll(h.bundle()); err != nil { // a runc that was killed leaves files it then trips over
		return err
	}
	if err := makeDirs(h.upper(), h.work(), h.root(), h.data(), h.bundle()); err != nil {
		return err
	}
	// The upper directory is the machine's / and carries its mode.
	if err := os.Chmod(h.upper(), 0o755); err != nil { //nolint:gosec // as said
		return err
	}
	if err := makeBindSources(h, s.Spec.Binds); err != nil {
		return err
	}
	if err := mountRoot(h, s.Spec.Layers); err != nil {
		return err
	}
	key, err := ensureHostKey(h)
	if err != nil {
		return err
	}
	if err := writeFiles(h.root(), s, key); err != nil {
		return fmt.Errorf("write the files of machine %q: %w", s.Spec.Name, err)
	}
	return p.writeConfig(s)
}

// mountRoot leaves a private mount: what is mounted below it in the machine, whose / is shared,
// must not come back to this computer.
func mountRoot(h home, layers []string) error {
	escaped := make([]string, len(layers))
	for i, l := range layers {
		escaped[i] = escapeOverlay(l)
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s",
		strings.Join(escaped, ":"), escapeOverlay(h.upper()), escapeOverlay(h.work()))
	if err := unix.Mount("slipway", h.root(), "overlay", 0, options); err != nil {
		return fmt.Errorf("mount overlay on %q: %w", h.root(), err)
	}
	if err := unix.Mount("", h.root(), "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mount %q private: %w", h.root(), err)
	}
	return nil
}

func escapeOverlay(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(path)
}

// makeBindSources makes the machine's own directories. What it sees of this computer must be there: an empty directory in its place,
// made as root, would hide a slip of the pen until something in the machine misses its files.
func makeBindSources(h home, binds []Bind) error {
	var errs []error
	for _, b := range binds {
		source := h.bindSource(b)
		_, err := os.Lstat(source)
		switch {
		case !errors.Is(err, fs.ErrNotExist):
		case filepath.IsAbs(b.Source):
			err = fault.New("machine-files-missing", fmt.Sprintf("show a machine what is to be at %q", b.Target),
				fmt.Errorf("this computer has no %q", b.Source), "put that back and run the same command again")
		default:
			err = makeDirs(source)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (h home) bindSource(b Bind) string {
	if filepath.IsAbs(b.Source) {
		return b.Source
	}
	return filepath.Join(h.data(), b.Source)
}

type rootFile struct {
	path string
	data []byte
	mode fs.FileMode
}

func filesOf(s *machineState, hostKey, hostKeyPub []byte) []rootFile {
	return []rootFile{
		{"etc/hostname", []byte(s.Spec.Name + "\n"), 0o644},
		{"etc/machine-id", []byte(s.MachineID + "\n"), 0o444},
		{"etc/hosts", hostsFile(s.Spec), 0o644},
		{"etc/resolv.conf", resolvFile(s.Spec), 0o644},
		{"etc/ssh/ssh_host_ed25519_key", hostKey, 0o600},
		{"etc/ssh/ssh_host_ed25519_key.pub", hostKeyPub, 0o644},
		{"root/.ssh/authorized_keys", []byte(strings.TrimSpace(s.Spec.AuthorizedKey) + "\n"), 0o600},
	}
}

// writeFiles goes through os.Root: a symbolic link in a layer, such as Debian's resolv.conf
// may be one, must not lead it out of the machine.
func writeFiles(dir string, s *machineState, key hostKey) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll("root/.ssh", 0o700); err != nil {
		return err
	}
	if err := root.MkdirAll("etc/ssh", 0o755); err != nil {
		return err
	}
	for _, name := range []string{"rsa", "ecdsa", "dsa"} { // keys of a layer are nobody's secret
		for _, suffix := range []string{"", ".pub"} {
			_ = root.Remove("etc/ssh/ssh_host_" + name + "_key" + suffix)
		}
	}
	for _, f := range filesOf(s, key.private, key.public) {
		if err := replaceInRoot(root, f); err != nil {
			return err
		}
	}
	return nil
}

func replaceInRoot(root *os.Root, f rootFile) error {
	if err := root.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.WriteFile(f.path, f.data, f.mode); err != nil {
		return err
	}
	return root.Chmod(f.path, f.mode) // whatever the umask is
}

func hostsFile(s MachineSpec) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&b, "%s %s\n", s.Address, s.Name)
	for _, name := range slices.Sorted(maps.Keys(s.Hosts)) {
		if name != s.Name {
			fmt.Fprintf(&b, "%s %s\n", s.Hosts[name], name)
		}
	}
	return b.Bytes()
}

func resolvFile(s MachineSpec) []byte {
	if len(s.Resolvers) == 0 {
		return []byte("# no resolvers: this machine reaches nothing beyond its cluster\n")
	}
	var b bytes.Buffer
	for _, r := range s.Resolvers {
		fmt.Fprintf(&b, "nameserver %s\n", r)
	}
	return b.Bytes()
}
