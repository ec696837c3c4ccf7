package node

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
)

func withVirtualIP(s *bootstrap.NodeSpec) *bootstrap.NodeSpec {
	s.Cluster.VirtualIP, s.Node.VirtualIPInterface = netip.MustParsePrefix("192.0.2.100/32"), "eth7"
	return s
}

func TestKeepalived(t *testing.T) {
	n := testBuilder(t, withVirtualIP(testSpecs(t)[1]))
	conf := n.keepalivedConf()
	for _, want := range []string{
		"interface eth7\n", "virtual_router_id 100\n", "192.0.2.100/32\n", "--server 192.0.2.12:6443 --ca /etc/kubernetes/pki/ca.crt\"",
	} {
		if !strings.Contains(conf, want) {
			t.Errorf("its configuration has no %q:\n%s", want, conf)
		}
	}
	c := n.pod(n.keepalived()).Spec.Containers[0]
	s := c.SecurityContext
	if s == nil || s.Privileged != nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) != 4 {
		t.Errorf("its rights: %+v", s)
	}
	if c.StartupProbe != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil || c.Image == "" {
		t.Errorf("its container: %+v", c)
	}
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s is writable", m.MountPath)
		}
	}
	// Everything that its configuration names is there.
	for _, path := range []string{keepalivedConfig, bootstrap.Program, caFile} {
		if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return path == m.MountPath || strings.HasPrefix(path, m.MountPath+"/")
		}) {
			t.Errorf("%s is not mounted", path)
		}
	}
}

func TestVirtualRouter(t *testing.T) {
	for address, want := range map[string]int{"10.0.0.1": 1, "10.0.0.255": 255, "10.0.1.0": 255, "192.0.2.100": 100} {
		if got := virtualRouter(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %d, want %d", address, got, want)
		}
	}
}

// TestVirtualIPSteps: only control planes of a cluster with a virtual IP have to do with it. Whoever takes back what a host
// has lost the knowledge of learns of it from the journal.
func TestVirtualIPSteps(t *testing.T) {
	has := func(n *builder) bool {
		steps := n.steps()
		if err := engine.Validate(steps); err != nil {
			t.Error(err)
		}
		return slices.ContainsFunc(steps, func(s engine.Step) bool { return s.Name == "virtual-ip" })
	}
	for i := range 5 {
		n := testBuilder(t, testSpecs(t)[i])
		n.host = testHost(t)
		if has(n) {
			t.Errorf("node %d without a virtual IP has to do with it", i+1)
		}
		n.NodeSpec = withVirtualIP(n.NodeSpec)
		if want := n.Node.ControlPlane; has(n) != want {
			t.Errorf("node %d has the step: %v", i+1, !want)
		}
	}
	lost := &builder{NodeSpec: &bootstrap.NodeSpec{}, host: testHost(t)}
	if has(lost) {
		t.Error("there is a step, and nothing in the journal")
	}
	if err := lost.host.Note("virtual-ip", notedVirtualIP, "192.0.2.100/32"); err != nil {
		t.Fatal(err)
	}
	if !has(lost) {
		t.Error("what is in the journal is forgotten")
	}
}

// TestVirtualIPIsInCertificates holds for those that slipway makes and those that kubeadm does.
func TestVirtualIPIsInCertificates(t *testing.T) {
	n := testBuilder(t, withVirtualIP(testSpecs(t)[0]))
	server, ok := n.clusterConfiguration()["apiServer"].(map[string]any)
	if sans, _ := server["certSANs"].([]string); !ok || !slices.Contains(sans, "192.0.2.100") {
		t.Errorf("kubeadm is told %v", server["certSANs"])
	}
}
