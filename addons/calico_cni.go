package addons

import (
	_ "embed"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

//go:embed manifests/enable-cni.sh
var enableCNI string

// stagedConfiguration is a name that container runtimes pass over.
const stagedConfiguration = "10-calico.conflist.staged"

// readyMeansConnected lets the node have its CNI configuration, by which it counts as Ready, when Felix
// is ready instead of some time before: install-cni writes it under another name, and calico-node
// renames it. Why is said in the script.
func readyMeansConnected(_ Config, pod *corev1.PodSpec) error {
	install, err := container(pod, "install-cni")
	if err != nil {
		return err
	}
	if err := replaceEnv(install, "CNI_CONF_NAME", stagedConfiguration); err != nil {
		return err
	}
	// install-cni removes what it takes for the file's former name: the one in use.
	if err := addEnv(install, "CNI_OLD_CONF_NAME", stagedConfiguration); err != nil {
		return err
	}
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
