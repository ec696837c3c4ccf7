package cri

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/distribution/reference"
	"k8s.io/apimachinery/pkg/util/version"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway.dev/slipway/bootstrap"
)

// minimum is the oldest version that upstream recommends for Kubernetes 1.36 (for 1.35 it is 2.1.5):
// https://github.com/containerd/containerd/blob/v2.3.7/RELEASES.md#kubernetes-support
// Below 2.0 the runtime cannot tell the kubelet its cgroup driver, without which Kubernetes 1.38 will not start:
// https://github.com/kubernetes/kubernetes/pull/139121
const minimum = "2.2"

// Where a node's network puts its configuration and its programs.
const (
	cniConfigs  = bootstrap.CNIConfigs
	cniPrograms = bootstrap.CNIPrograms
)

// snapshotter is the one that the bundle's images are unpacked into.
const snapshotter = "overlayfs"

// runcType is that of the runtime which nodes use.
const runcType = "io.containerd.runc.v2"

type runtimeSettings struct{ RuntimeType, CNIConfDir, Snapshotter string }

// settings are those of the CRI plugin's runtime, as it tells them when asked for its status:
// https://github.com/containerd/containerd/blob/v2.3.7/docs/cri/config.md
type settings struct {
	Containerd struct {
		DefaultRuntimeName string
		Runtimes           map[string]runtimeSettings
	}
	CNI struct {
		BinDir       string
		BinDirs      []string
		ConfDir      string
		ConfTemplate string
		MaxConfNum   int
	}
	RestrictOOMScoreAdj bool
	ContainerdRootDir   string
}

// judge finds everything for which a node cannot use it.
func (f *Found) judge(ctx context.Context, c *containerd.Client, kubelets runtime.RuntimeServiceClient) error {
	v, err := version.ParseGeneric(f.Version)
	if err != nil || !v.AtLeast(version.MustParseGeneric(minimum)) {
		f.unfit("it is older than %s", minimum)
		return nil //nolint:nilerr // a version that cannot be read is none that is known to do
	}
	why, err := PluginFailed(ctx, c)
	if err != nil {
		return err
	}
	if why != nil {
		f.unfit("its CRI plugin does not run: %v", why)
		return nil
	}
	s, err := readSettings(ctx, kubelets)
	if err != nil {
		return err
	}
	if err := f.judgeSettings(s); err != nil {
		return err
	}
	if err := f.judgeRuntime(ctx, kubelets); err != nil {
		return err
	}
	return f.judgeImages(ctx, c)
}

func (f *Found) unfit(format string, args ...any) {
	f.Unfit = append(f.Unfit, fmt.Sprintf(format, args...))
}

func readSettings(ctx context.Context, c runtime.RuntimeServiceClient) (*settings, error) {
	r, err := c.Status(ctx, &runtime.StatusRequest{Verbose: true})
	if err != nil {
		return nil, fmt.Errorf("ask the CRI plugin how it is: %w", err)
	}
	var s settings
	if err := json.Unmarshal([]byte(r.Info["config"]), &s); err != nil {
		return nil, fmt.Errorf("read the CRI plugin's settings: %w", err)
	}
	return &s, nil
}

func (f *Found) judgeSettings(s *settings) error {
	name := s.Containerd.DefaultRuntimeName
	r, ok := s.Containerd.Runtimes[name]
	switch {
	case !ok || r.RuntimeType != runcType:
		f.unfit("its default_runtime_name is %q, which is not runc", name)
	case r.Snapshotter != "" && r.Snapshotter != snapshotter:
		f.unfit("the snapshotter of its runtime %q is %q, not %q", name, r.Snapshotter, snapshotter)
	case r.CNIConfDir != "":
		f.unfit("its runtime %q has a cni_conf_dir of its own", name)
	}
	n := s.CNI
	if dirs := slices.Concat(n.BinDirs, []string{n.BinDir}); !slices.Contains(dirs, cniPrograms) {
		f.unfit("the directories of its network programs are %q, and %s is not among them", dirs, cniPrograms)
	}
	if n.ConfDir != cniConfigs || n.ConfTemplate != "" || n.MaxConfNum != 1 {
		f.unfit("its network configuration is not the first file of %s (conf_dir %q, conf_template %q, max_conf_num %d)",
			cniConfigs, n.ConfDir, n.ConfTemplate, n.MaxConfNum)
	}
	restricted, err := OOMScoreRestricted()
	if restricted && !s.RestrictOOMScoreAdj {
		f.unfit("it has restrict_oom_score_adj = false, and nobody may lower an OOM score here")
	}
	return err
}

// Driver is the cgroup driver that the kubelet is given.
func Driver() string {
	if cgroupV2() {
		return "systemd"
	}
	return "cgroupfs"
}

func (f *Found) judgeRuntime(ctx context.Context, c runtime.RuntimeServiceClient) error {
	r, err := c.RuntimeConfig(ctx, &runtime.RuntimeConfigRequest{})
	if err != nil {
		return fmt.Errorf("ask for its cgroup driver: %w", err)
	}
	if driver := strings.ToLower(r.GetLinux().GetCgroupDriver().String()); driver != Driver() {
		f.unfit("its cgroup driver is %s, and the kubelet's is %s here (SystemdCgroup)", driver, Driver())
	}
	pods, err := c.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		return fmt.Errorf("list its pods: %w", err)
	}
	if len(pods.Items) > 0 {
		f.unfit("there are %d pods in it, which the kubelet would end", len(pods.Items))
	}
	return nil
}

// judgeImages looks at what the daemon does not tell, only its configuration.
func (f *Found) judgeImages(ctx context.Context, c *containerd.Client) error {
	config, err := dumpConfig(ctx, c)
	if err != nil {
		return err
	}
	if s := config.text("snapshotter"); s != snapshotter {
		f.unfit("its snapshotter is %q, not %q", s, snapshotter)
	}
	sandbox := config.text("pinned_images", "sandbox")
	named, err := reference.ParseDockerRef(sandbox)
	if err != nil {
		f.unfit("the image that it begins pods with is %q, which is no name", sandbox)
		return nil //nolint:nilerr // that is the finding
	}
	if _, ok := named.(reference.Digested); ok {
		f.unfit("the image that it begins pods with, %s, is named by its digest: the bundle's cannot take its place", sandbox)
	}
	f.Sandbox = named.String()
	return nil
}
