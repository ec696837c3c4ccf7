package node

import (
	"context"
	"fmt"
	"os"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/images"
)

const (
	containerdSocket  = cri.Socket
	containerdConfig  = bootstrap.ContainerdConfig
	containerdUnit    = bootstrap.UnitDir + "/containerd.service"
	containerdProgram = bootstrap.ProgramDir + "/containerd"
	runcProgram       = bootstrap.SystemProgramDir + "/runc"
)

// containerd's configuration, format 3: https://github.com/containerd/containerd/blob/v2.3.7/docs/cri/config.md
const containerdConfigText = `version = 3
%s
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %q

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = '` + containerdHosts + `'

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = %t

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = %q
SystemdCgroup = %t
`

const containerdUnitText = `[Unit]
Description=containerd
Documentation=https://containerd.io
After=network.target local-fs.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=` + containerdProgram + `
Restart=always
RestartSec=1
# Containers outlive a restart of containerd.
Delegate=yes
KillMode=process
OOMScoreAdjust=-999
LimitNOFILE=infinity
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`

// besideText has it keep its own apart from what the containerd whose place it takes has there. It is on the same file
// systems, and goes with the directories that were claimed.
const besideText = `root = '` + besideStore + `'
state = '/run/containerd/slipway'
`

const besideStore = cri.StoreDir + "/slipway"

func (n *builder) containerd(name string, needs ...string) engine.Step {
	const unit = cri.Unit
	if n.Node.UsesRuntime() {
		return n.othersContainerd(name, needs...)
	}
	s := n.service(name, engine.Unit{
		Name: unit, Files: []string{containerdConfig, containerdUnit, containerdProgram},
	}, nil, func() ([]engine.File, error) {
		restricted, err := cri.OOMScoreRestricted()
		if err != nil {
			return nil, err
		}
		beside := ""
		if n.Node.Runtime != nil {
			beside = besideText
		}
		config := fmt.Sprintf(containerdConfigText, beside, n.refs["pause"], restricted, runcProgram, cri.Driver() == "systemd")
		return append(mirrorFiles(n.Cluster.Mirrors),
			engine.File{Path: containerdConfig, Data: []byte(config), Mode: 0o644},
			engine.File{Path: containerdUnit, Data: []byte(containerdUnitText), Mode: 0o644},
		), nil
	}, needs...)
	stop := s.Undo
	s.Undo = n.ifOurs(unit, func(ctx context.Context) error {
		if err := stop(ctx); err != nil || n.Node.Runtime != nil {
			return err // the containers of the one that was there live on
		}
		return endCgroups(ctx, "system.slice/"+unit) // the shims, which outlive containerd
	})
	return s
}

// service is a step that writes files and keeps a unit running with them, which makes systemd start also those in also.
func (n *builder) service(name string, u engine.Unit, also []string, list func() ([]engine.File, error), needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			files, err := list()
			if err != nil {
				return nil, err
			}
			if differing := engine.Differing(files); len(differing) > 0 {
				return append(differing, "start "+u.Name), nil
			}
			d, err := u.Differs(ctx)
			if err != nil || d == "" {
				return nil, err
			}
			return []string{d}, nil
		},
		Do: func(ctx context.Context, _ func(string)) error {
			files, err := list()
			if err != nil {
				return err
			}
			if err := n.host.KeepUnits(ctx, name, append(also, u.Name)...); err != nil {
				return err
			}
			if err := n.host.WriteFiles(name, files); err != nil {
				return err
			}
			return n.host.StartUnit(ctx, u)
		},
		Undo: n.ifOurs(u.Name, func(ctx context.Context) error { return n.host.StopUnit(ctx, u.Name) }),
	}
}

// ifOurs leaves a unit alone that no step has come to: a run that ended before, or did something else, has not made it.
func (n *builder) ifOurs(unit string, undo func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if !n.host.KeptUnit(unit) {
			return nil
		}
		return undo(ctx)
	}
}

// importImages puts those images of the bundle into containerd that this node runs and that are chosen, but for those that
// are there. Nil chooses all.
func (n *builder) importImages(name string, chosen func(component string) bool, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			list := n.imagesOfNode(chosen)
			if _, err := os.Stat(containerdSocket); err != nil {
				return each("import image ", list), nil //nolint:nilerr // it has none before it runs
			}
			missing, err := n.bundle.Missing(ctx, containerdSocket, list)
			return each("import image ", missing), err
		},
		Do: func(ctx context.Context, progress func(string)) error {
			if err := n.keepImages(ctx, name); err != nil {
				return err
			}
			return n.bundle.Import(ctx, containerdSocket, n.imagesOfNode(chosen), progress)
		},
		Undo: n.putImagesBack,
	}
}

// imagesOfNode are those that a node of this kind runs.
func (n *builder) imagesOfNode(chosen func(component string) bool) []string {
	var out []string
	for _, c := range n.bundle.Components() {
		if c.Kind == images.KindImage && n.runs(c.Name) && (chosen == nil || chosen(c.Name)) {
			out = append(out, c.Name)
		}
	}
	return out
}

func (n *builder) runs(component string) bool {
	switch {
	case controlPlaneOnly(component) && !n.Node.ControlPlane, component == "etcd" && n.externalEtcd(),
		component == "keepalived" && !n.hasVirtualIP(), component == images.Plugin && n.hasPlugin():
		return false
	}
	return true
}

// servesAPI tells whether the API server needs this component's image to start, or to be reached.
func servesAPI(component string) bool {
	switch component {
	case "pause", sandbox, "etcd", "kube-apiserver", "keepalived":
		return true
	}
	return false
}

func controlPlaneOnly(component string) bool {
	switch component {
	case "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler":
		return true
	}
	return false
}
