package addons

import (
	_ "embed"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

//go:embed manifests/enable-cni.sh
var enableCNI string

// StagedConfiguration is the name of the plugin's configuration until the node is connected. Container runtimes pass over it.
const StagedConfiguration = "10-calico.conflist.staged"

const installer = "install-cni"

// installsPlugin has each pod put the CNI plugin on its node first, as upstream does: nobody else does it there.
func installsPlugin(cfg Config, pod *corev1.PodSpec) error {
	if err := setComponentImage(cfg, pod, installer, "calico-cni"); err != nil {
		return err
	}
	cfg.APIHost = inBrackets(cfg.APIHost)
	if err := setAPIServer(cfg, pod, installer); err != nil {
		return err
	}
	c, err := container(pod, installer)
	if err != nil {
		return err
	}
	if err := replaceEnv(c, "CNI_CONF_NAME", StagedConfiguration); err != nil {
		return err
	}
	// It removes what it takes for the file's former name: the one in use.
	return addEnv(c, "CNI_OLD_CONF_NAME", StagedConfiguration)
}

// inBrackets gives a form of the host that can stand in the brackets of a URL: install-cni always writes them, and with an IPv4
// address or a name in them no program of today understands what it wrote. On a node that restarts, where the CNI plugin
// is already in use, it would fail until calico-node has written the file again, and the kubelet tries such a pod again only
// after 10 to 15 s. A name is left as it is: there is no such form of it.
func inBrackets(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return netip.AddrFrom16(ip.As16()).String()
	}
	return host
}

// withoutInstaller spares each start of a node a container that has nothing to do, and up to a second until the kubelet sees that it
// has ended.
func withoutInstaller(_ Config, pod *corev1.PodSpec) error {
	if err := dropContainer(pod, installer); err != nil {
		return err
	}
	return dropVolume(pod, "cni-bin-dir")
}

// PluginConfiguration is what install-cni would write on a node in the directory dir: the CNI plugin's configuration.
func PluginConfiguration(cfg Config, manifests Manifests, node, dir string) ([]byte, error) {
	text, err := pluginConfiguration(cfg, manifests, node, dir)
	if err != nil {
		return nil, unexpected("write the CNI plugin's configuration", err)
	}
	return []byte(text), nil
}

func pluginConfiguration(cfg Config, manifests Manifests, node, dir string) (string, error) {
	set, err := upstream(manifests, calicoManifests, calicoPath(cfg), "cni_network_config:")
	if err != nil {
		return "", err
	}
	text := ""
	err = edit(set, "ConfigMap", "calico-config", calicoSettings(cfg), func(m *corev1.ConfigMap) error {
		text = m.Data["cni_network_config"]
		return nil
	})
	if err != nil {
		return "", err
	}
	text = strings.NewReplacer(
		"__KUBERNETES_NODE_NAME__", node, "__CNI_MTU__", strconv.Itoa(cfg.MTU), "__KUBECONFIG_FILEPATH__", path.Join(dir, "calico-kubeconfig"),
	).Replace(text)
	if strings.Contains(text, "__") {
		return "", fmt.Errorf("data.cni_network_config has more to fill in than is known: %s", text)
	}
	return text, nil
}

// readyMeansConnected lets the node have its CNI configuration, by which it counts as Ready, when Felix
// is ready instead of some time before: it is there under another name, and calico-node
// renames it. Why is said in the script.
func readyMeansConnected(_ Config, pod *corev1.PodSpec) error {
	node, err := container(pod, calicoNode)
	if err != nil {
		return err
	}
	if node.Lifecycle == nil || node.Lifecycle.PostStart != nil {
		return fmt.Errorf("container %q: lifecycle is not as expected in the manifest", node.Name)
	}
	if err := writesConfiguration(node); err != nil {
		return err
	}
	node.Lifecycle.PostStart = &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
		Command: []string{"/bin/bash", "-c", enableCNI},
	}}
	return nil
}

func writesConfiguration(node *corev1.Container) error {
	for _, m := range node.VolumeMounts {
		if m.MountPath == "/host/etc/cni/net.d" && !m.ReadOnly {
			return nil
		}
	}
	return fmt.Errorf("container %q: /host/etc/cni/net.d is not mounted writable in the manifest", node.Name)
}
