package addons_test

import (
	"net/netip"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"slipway.dev/slipway/addons"
	"slipway.dev/slipway/internal/fault"
)

func images() map[string]string {
	return map[string]string{
		"pause":                   "registry.k8s.io/pause:3.10.2",
		"kube-proxy":              "registry.k8s.io/kube-proxy:v1.37.1",
		"coredns":                 "registry.k8s.io/coredns/coredns:v1.14.6",
		"calico-node":             "docker.io/calico/node:v3.28.4-11-ga0db560f0520",
		"calico-cni":              "docker.io/calico/cni:v3.28.4-11-ga0db560f0520",
		"calico-typha":            "docker.io/calico/typha:v3.28.4-11-ga0db560f0520",
		"calico-kube-controllers": "docker.io/calico/kube-controllers:v3.28.4-11-ga0db560f0520",
	}
}

// local is a cluster of one machine without a way out.
func local() addons.Config {
	return addons.Config{
		PodCIDR:           netip.MustParsePrefix("10.244.0.0/16"),
		ServiceCIDR:       netip.MustParsePrefix("10.96.0.0/16"),
		DNSIP:             netip.MustParseAddr("10.96.0.10"),
		DNSDomain:         "cluster.local",
		APIHost:           "127.0.0.1",
		APIPort:           6444,
		Images:            images(),
		KubernetesVersion: "v1.37.1",
		ControlPlanes:     1,
		Nodes:             1,

		NodePortsEverywhere: true, PluginInstalled: true,
	}
}

// large is a cluster of servers behind a load balancer on each node's loopback.
func large() addons.Config {
	c := local()
	c.APIHost, c.ControlPlanes, c.Nodes = "127.0.0.1", 3, 450
	c.UpstreamDNS, c.Typha, c.ConntrackLimits = true, true, true
	c.NodePortsEverywhere, c.PluginInstalled = false, false
	c.VXLANMode, c.MTU = addons.VXLANCrossSubnet, 1400
	return c
}

// dual is local with a second network of pods.
func dual() addons.Config {
	c := local()
	c.PodCIDR6 = netip.MustParsePrefix("fd00:10:244::/56")
	return c
}

func variants() map[string]addons.Config {
	return map[string]addons.Config{"local": local(), "large": large(), "dual": dual()}
}

func mustRender(t *testing.T, cfg addons.Config) map[string]addons.Addon {
	t.Helper()
	list, err := addons.Render(cfg, manifests(t))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]addons.Addon{}
	for _, a := range list {
		out[a.Name] = a
	}
	return out
}

func TestRenderedObjectsKeepInvariants(t *testing.T) {
	for name, cfg := range variants() {
		t.Run(name, func(t *testing.T) {
			for _, a := range mustRender(t, cfg) {
				if len(a.Waits) == 0 {
					t.Errorf("%s: nothing to wait for", a.Name)
				}
				for _, u := range a.Objects {
					checkObject(t, u)
				}
			}
		})
	}
}

// checkObject holds for every object of every addon.
func checkObject(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	name := u.GetKind() + "/" + u.GetName()
	clusterWide := strings.HasPrefix(u.GetKind(), "Cluster") || u.GetKind() == "CustomResourceDefinition"
	if ns := u.GetNamespace(); clusterWide && ns != "" || !clusterWide && ns != "kube-system" {
		t.Errorf("%s: namespace is %q", name, ns)
	}
	if _, ok := u.Object["status"]; ok {
		t.Errorf("%s: claims its status", name)
	}
	text, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"__DNS__", ":latest", "filled-in", `"creationTimestamp"`, "addonmanager"} {
		if strings.Contains(string(text), word) {
			t.Errorf("%s: contains %q", name, word)
		}
	}
	if pod := podOf(t, u); pod != nil {
		checkPod(t, name, pod)
	}
}

func podOf(t *testing.T, u *unstructured.Unstructured) *corev1.PodSpec {
	t.Helper()
	var d appsv1.DaemonSet // a Deployment's template lies at the same place
	if u.GetKind() != "DaemonSet" && u.GetKind() != "Deployment" {
		return nil
	}
	template := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{"template": u.Object["spec"].(map[string]any)["template"]},
	}}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template.Object, &d); err != nil {
		t.Fatal(err)
	}
	return &d.Spec.Template.Spec
}

func checkPod(t *testing.T, name string, pod *corev1.PodSpec) {
	t.Helper()
	ours := map[string]bool{}
	for _, ref := range images() {
		ours[ref] = true
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.HostPath != nil && !allowedHostPath(v.HostPath.Path) {
			t.Errorf("%s: mounts %q of the host", name, v.HostPath.Path)
		}
	}
	for _, c := range append(append([]corev1.Container{}, pod.InitContainers...), pod.Containers...) {
		if !ours[c.Image] {
			t.Errorf("%s: image %q of container %q is not in the bundle", name, c.Image, c.Name)
		}
		if c.ImagePullPolicy != corev1.PullIfNotPresent {
			t.Errorf("%s: container %q is pulled %q", name, c.Name, c.ImagePullPolicy)
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: container %q mounts %q, which is no volume", name, c.Name, m.Name)
			}
		}
	}
	for _, c := range pod.Containers {
		if c.ReadinessProbe == nil {
			t.Errorf("%s: container %q has no readiness probe", name, c.Name)
		}
	}
}

func allowedHostPath(path string) bool {
	switch path {
	case "/lib/modules", "/run/xtables.lock", "/opt/cni/bin", "/etc/cni/net.d",
		"/var/run/calico", "/var/lib/calico", "/var/log/calico/cni", "/var/run/nodeagent":
		return true
	}
	return false
}

// Whatever a patch changes must be in upstream's text. Each case takes one such thing away.
func TestRenderRefusesManifestsThatMovedOn(t *testing.T) {
	const vxlan, dns = "calico/calico-vxlan.yaml", "coredns/coredns.yaml.base"
	tests := map[string]struct{ path, old, with, want string }{
		"init container": {vxlan, `"mount-bpffs"`, `"mount-bpf"`, `DaemonSet/kube-system/calico-node: init container "mount-bpffs"`},
		"volume":         {vxlan, "- name: nodeproc\n  ", "- name: nodeprocs\n  ", `volume "nodeproc"`},
		"variable gone":  {vxlan, "name: CALICO_IPV4POOL_VXLAN", "name: POOL", "CALICO_IPV4POOL_VXLAN is not in the manifest"},
		"variable set now": {
			vxlan, "# - name: CALICO_IPV4POOL_CIDR\n            #   value", "- name: CALICO_IPV4POOL_CIDR\n              value",
			"CALICO_IPV4POOL_CIDR is already in the manifest",
		},
		"container":       {vxlan, "- name: install-cni", "- name: install", `container "install-cni"`},
		"probe":           {vxlan, "readinessProbe:", "startupProbe:", "probe"},
		"unknown field":   {vxlan, "hostNetwork: true", "hostNetworking: true", `unknown field "spec.template.spec.hostNetworking"`},
		"hook":            {vxlan, "preStop:", "postStart:", "lifecycle"},
		"configuration":   {vxlan, "veth_mtu: ", "mtu: ", "ConfigMap/kube-system/calico-config: data.veth_mtu"},
		"object":          {vxlan, "name: calico-kube-controllers\n", "name: other\n", "Deployment/calico-kube-controllers is not in the manifest"},
		"placeholder":     {dns, "__DNS__SERVER__", "10.0.0.10", `"__DNS__SERVER__" is in it 0 times`},
		"new placeholder": {dns, "cache 30", "cache __DNS__CACHE__", "unknown placeholder"},
		"forward stanza":  {dns, "forward .", "proxy .", "forward stanza"},
		"anti-affinity":   {dns, "podAntiAffinity:", "podAffinity:", "podAntiAffinity"},
		"lameduck":        {dns, "lameduck 5s", "lameduck 4s", "lameduck"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := manifests(t)
			component, _, _ := strings.Cut(tc.path, "/")
			component += "-manifests"
			text := string(m[component][tc.path])
			if !strings.Contains(text, tc.old) {
				t.Fatalf("%q is not in upstream's %s", tc.old, tc.path)
			}
			m[component][tc.path] = []byte(strings.ReplaceAll(text, tc.old, tc.with))
			_, err := addons.Render(local(), m)
			wantFault(t, err, "addon-manifest-unexpected", tc.want)
		})
	}
}

func TestRenderRefusesMissingManifestsAndImages(t *testing.T) {
	_, err := addons.Render(local(), addons.Manifests{})
	wantFault(t, err, "addon-manifest-unexpected", `no "calico/calico-vxlan.yaml" in component "calico-manifests"`)

	cfg := local()
	delete(cfg.Images, "coredns")
	_, err = addons.Render(cfg, manifests(t))
	wantFault(t, err, "addon-manifest-unexpected", `no image for component "coredns"`)
}

func TestRenderReportsAllThatIsWrongWithTheConfiguration(t *testing.T) {
	_, err := addons.Render(addons.Config{VXLANMode: "Sometimes", MTU: -1}, nil)
	for _, want := range []string{"pod CIDR", "DNS address", "DNS domain", "Sometimes", "MTU", "API server", "nodes"} {
		wantFault(t, err, "addon-config-invalid", want)
	}
}

func wantFault(t *testing.T, err error, id, text string) {
	t.Helper()
	all := fault.All(err)
	if len(all) != 1 || all[0].ID != id || all[0].Next == "" {
		t.Fatalf("got %v, want one fault %q", err, id)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("got %q, want %q in it", err, text)
	}
}
