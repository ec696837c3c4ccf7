package images

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
)

// Plugin is the component that Calico's CNI plugin is in. It is an image, whose program copies the plugin to the host that it runs on.
// Install, Installed and Unpack do that without running it, and take nothing else out of it.
const Plugin = "calico-cni"

// pluginFiles are those of the plugin's image that a host needs and does not have of the component cni-plugins.
func pluginFiles() []string { return []string{"opt/cni/bin/calico", "opt/cni/bin/calico-ipam"} }

// hasPlugin tells whether the bundle has it: one for tests may not.
func (b *Bundle) hasPlugin() bool { return slices.Contains(b.names(KindImage), Plugin) }

// hostPart is a component whose files go to a host.
func (b *Bundle) hostPart(name string) (part, error) {
	if name == Plugin {
		return b.partOf(name, KindImage)
	}
	return b.partOf(name, KindFiles, KindRootfs)
}

// extractPlugin passes over all that is not the plugin's.
func (b *Bundle) extractPlugin(ctx context.Context, p part, t *tree) error {
	want := pluginFiles()
	err := b.walk(ctx, p, func(h *tar.Header, r io.Reader) error {
		if !slices.Contains(want, path.Clean(h.Name)) {
			return nil
		}
		return t.add(h, r)
	})
	if err == nil && len(t.files) != len(want) {
		err = fmt.Errorf("component %q has of %q only %q", p.Name, want, t.files)
	}
	return err
}
