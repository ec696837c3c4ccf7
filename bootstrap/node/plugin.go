package node

import (
	"context"
	"path/filepath"

	"slipway.dev/slipway/addons"
	"slipway.dev/slipway/bootstrap/engine"
)

// hasPlugin tells whether Calico's CNI plugin is among the programs that the steps give to every node. Where others than Slipway make
// nodes, pods of Calico's put it there.
func (n *builder) hasPlugin() bool { return n.Cluster.Closed }

const (
	pluginStaged = cniConfigs + "/" + addons.StagedConfiguration
	// Felix says in this directory which pods have their rules. The plugin looks for it every half second where it is not there when
	// the first pods come, before Felix is.
	pluginDirs     = "/etc/tmpfiles.d/slipway-calico.conf"
	pluginDirsText = "d /run/calico/endpoint-status 0755\n"
)

// plugin writes what the CNI plugin goes by. A configuration that is in use stays as it is.
func (n *builder) plugin(name string, needs ...string) engine.Step {
	files := func(ctx context.Context) ([]engine.File, error) {
		out := []engine.File{{Path: pluginDirs, Data: []byte(pluginDirsText), Mode: 0o644}}
		if there, err := filepath.Glob(calicoConfig + "*"); err != nil || len(there) > 0 {
			return out, err
		}
		text, err := n.pluginConfiguration(ctx)
		return append(out, engine.File{Path: pluginStaged, Data: text, Mode: 0o644}), err
	}
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			list, err := files(ctx)
			return engine.Differing(list), err
		},
		Do: func(ctx context.Context, _ func(string)) error {
			list, err := files(ctx)
			if err == nil {
				err = n.host.Mkdir(name, cniConfigs, 0o700) // as containerd would
			}
			if err != nil {
				return err
			}
			return n.host.WriteFiles(name, list)
		},
	}
}

func (n *builder) pluginConfiguration(ctx context.Context) ([]byte, error) {
	manifests, err := n.manifestsOf(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := n.addonsConfig()
	if err != nil {
		return nil, err
	}
	return addons.PluginConfiguration(cfg, manifests, n.Node.Name, cniConfigs)
}
