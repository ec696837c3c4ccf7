package addons

import (
	_ "embed"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const calicoNode = "calico-node"

//go:embed manifests/start-calico-node.sh
var startCalicoNode string

// calicoNodePatches changes the pod that programs a node's routes and policies.
func calicoNodePatches(cfg Config) []patch[appsv1.DaemonSet] {
	on := func(change func(Config, *corev1.PodSpec) error) patch[appsv1.DaemonSet] {
		return func(d *appsv1.DaemonSet) error { return change(cfg, &d.Spec.Template.Spec) }
	}
	installer := installsPlugin
	if cfg.PluginInstalled {
		installer = withoutInstaller
	}
	return []patch[appsv1.DaemonSet]{
		on(withoutBPF),
		on(withoutIPAMUpgrade),
		on(installer),
		on(calicoNodeImage),
		on(calicoNodeAPIServer),
		on(calicoPool),
		on(calicoPool6),
		on(felixSettings),
		on(readyMeansConnected),
		on(startsAtOnce),
		on(calicoNodeProbes),
		on(calicoNodeRequests),
	}
}

// withoutBPF drops what only the eBPF dataplane needs. It costs a container start on each node and
// mounts parts of the host that nothing else here wants.
func withoutBPF(_ Config, pod *corev1.PodSpec) error {
	if err := dropContainer(pod, "mount-bpffs"); err != nil {
		return err
	}
	for _, volume := range []string{"sys-fs", "nodeproc", "bpffs"} {
		if err := dropVolume(pod, volume); err != nil {
			return err
		}
	}
	return nil
}

// withoutIPAMUpgrade drops the move from host-local addresses, which no cluster of ours ever had.
func withoutIPAMUpgrade(_ Config, pod *corev1.PodSpec) error {
	if err := dropContainer(pod, "upgrade-ipam"); err != nil {
		return err
	}
	return dropVolume(pod, "host-local-net-dir")
}

func calicoNodeImage(cfg Config, pod *corev1.PodSpec) error {
	return setComponentImage(cfg, pod, calicoNode, calicoNode)
}

func calicoNodeAPIServer(cfg Config, pod *corev1.PodSpec) error {
	return setAPIServer(cfg, pod, calicoNode)
}

// calicoPool says from which addresses pods get theirs and how nodes carry their traffic. The
// address of the Node object is the one the cluster was told to use, so nothing is detected.
func calicoPool(cfg Config, pod *corev1.PodSpec) error {
	c, err := container(pod, calicoNode)
	if err != nil {
		return err
	}
	if err := replaceEnv(c, "CALICO_IPV4POOL_IPIP", "Never"); err != nil {
		return err
	}
	if err := replaceEnv(c, "CALICO_IPV4POOL_VXLAN", cfg.vxlanMode()); err != nil {
		return err
	}
	if err := addEnv(c, "CALICO_IPV4POOL_CIDR", cfg.PodCIDR.String()); err != nil {
		return err
	}
	return addEnv(c, "IP_AUTODETECTION_METHOD", "kubernetes-internal-ip")
}

// felixSettings fixes what must not be left to detection or to a default. What is off by default
// and an admin may want to turn on (WireGuard) is left alone: a variable here outranks the
// FelixConfiguration in the cluster.
func felixSettings(_ Config, pod *corev1.PodSpec) error {
	c, err := container(pod, calicoNode)
	if err != nil {
		return err
	}
	for _, e := range []struct{ name, value string }{
		// kube-proxy in nftables mode needs nf_tables in the kernel, so it is there; the detection
		// counts rules of both backends and can answer wrongly while kubelet has not made its own yet.
		{"FELIX_IPTABLESBACKEND", "NFT"},
		// The file system these two need is not mounted here, see withoutBPF.
		{"FELIX_BPFENABLED", "false"},
		{"FELIX_XDPENABLED", "false"},
		// Here the CNI plugin looks for what podsWaitForPolicy waits for.
		{"FELIX_ENDPOINTSTATUSPATHPREFIX", "/var/run/calico"},
		// It would tell the project's servers about the cluster.
		{"FELIX_USAGEREPORTINGENABLED", "false"},
	} {
		if err := addEnv(c, e.name, e.value); err != nil {
			return err
		}
	}
	return nil
}

// startsAtOnce starts Calico's services without a second of waiting, for which the script has the reasons.
func startsAtOnce(_ Config, pod *corev1.PodSpec) error {
	c, err := container(pod, calicoNode)
	if err != nil {
		return err
	}
	if len(c.Command) > 0 {
		return fmt.Errorf("container %q: it has a command in the manifest", c.Name)
	}
	c.Command = []string{"/bin/sh", "-c", startCalicoNode}
	return nil
}

// calicoNodeRequests: what the pod uses at rest is far below upstream's quarter of a core, and on a
// small machine that quarter decides whether anything else can be scheduled.
func calicoNodeRequests(_ Config, pod *corev1.PodSpec) error {
	c, err := container(pod, calicoNode)
	if err != nil {
		return err
	}
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	return nil
}
