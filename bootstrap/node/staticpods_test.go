package node

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"slipway.dev/slipway/bootstrap/engine"
)

func components(n *builder) []component {
	return []component{n.etcd(), n.apiServer(), n.controllerManager(), n.scheduler()}
}

// TestPathsOfFlags holds that each file that a flag names is written by another step and mounted into the pod.
func TestPathsOfFlags(t *testing.T) {
	spec := testSpecs(t)[1]
	n := testBuilder(t, spec)
	written := []string{auditPolicy, authentication}
	for _, f := range spec.Files {
		written = append(written, f.Path)
	}
	path := regexp.MustCompile(`^--[^=]+=(/etc/kubernetes/.+)$`)
	for _, c := range components(n) {
		found := 0
		for _, a := range c.args {
			m := path.FindStringSubmatch(a)
			if m == nil {
				continue
			}
			found++
			if !slices.Contains(written, m[1]) {
				t.Errorf("%s: nothing writes the file of %s", c.name, a)
			}
			if !slices.ContainsFunc(c.mounts, func(v mount) bool { return m[1] == v.path || strings.HasPrefix(m[1], v.path+"/") }) {
				t.Errorf("%s: the file of %s is not mounted", c.name, a)
			}
		}
		if found == 0 {
			t.Errorf("%s has no flag with a path: this test looks for the wrong thing", c.name)
		}
	}
}

// TestAlone: what a control plane does without others may not be with it when there are, nor be told to those that join.
func TestAlone(t *testing.T) {
	spec := testSpecs(t)[0]
	for _, alone := range []bool{false, true} {
		spec.Cluster.Alone = alone
		n := testBuilder(t, spec)
		command := func(c component) string { return strings.Join(c.command(), " ") }
		if got := strings.Contains(command(n.etcd()), "--election-timeout="); got != alone {
			t.Errorf("alone %v: etcd has a time to elect of its own: %v", alone, got)
		}
		for _, c := range []component{n.controllerManager(), n.scheduler()} {
			if got := strings.Contains(command(c), "--leader-elect=false"); got != alone {
				t.Errorf("alone %v: %s needs no lease: %v", alone, c.name, got)
			}
		}
		for _, a := range slices.Concat(extraArgs(n.etcd()), extraArgs(n.scheduler())) {
			if strings.Contains(a.Name, "elect") || a.Name == "heartbeat-interval" {
				t.Errorf("alone %v: kubeadm is told %+v", alone, a)
			}
		}
		if joins := command(n.etcdMember("existing", nil)); strings.Contains(joins, "--election-timeout=") {
			t.Errorf("alone %v: one that joins runs %s", alone, joins)
		}
	}
}

func TestPods(t *testing.T) {
	n := testBuilder(t, testSpecs(t)[0])
	for _, c := range components(n) {
		p := n.pod(c)
		got := p.Spec.Containers[0]
		if !p.Spec.HostNetwork || p.Namespace != "kube-system" || got.Image == "" || got.Command[0] != c.name {
			t.Errorf("%s: %+v", c.name, p)
		}
		for what, probe := range map[string]*corev1.Probe{"startup": got.StartupProbe, "liveness": got.LivenessProbe, "readiness": got.ReadinessProbe} {
			if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Port.IntValue() != c.port {
				t.Errorf("%s: its %s probe is %+v", c.name, what, probe)
			}
		}
		for _, v := range got.VolumeMounts {
			if writable := v.MountPath == etcdData || v.MountPath == auditLogDir; v.ReadOnly == writable {
				t.Errorf("%s: %s is mounted read-only: %v", c.name, v.MountPath, v.ReadOnly)
			}
		}
	}
}

// TestEtcdMembers holds that all control planes start etcd with the same list, each with its own name and address.
func TestEtcdMembers(t *testing.T) {
	const want = "--initial-cluster=n1=https://192.0.2.11:2380,n2=https://192.0.2.12:2380,n3=https://192.0.2.13:2380"
	for i, s := range testSpecs(t)[:3] {
		args := testBuilder(t, s).etcd().args
		own := s.Node.Address.String()
		for _, a := range []string{
			want, "--name=" + s.Node.Name, "--initial-cluster-token=t", "--client-cert-auth=true", "--peer-client-cert-auth=true",
			"--listen-peer-urls=https://" + own + ":2380", "--advertise-client-urls=https://" + own + ":2379",
		} {
			if !slices.Contains(args, a) {
				t.Errorf("member %d lacks %s", i+1, a)
			}
		}
	}
}

func TestNobodyProfiles(t *testing.T) {
	n := testBuilder(t, testSpecs(t)[0])
	for _, c := range components(n)[1:] {
		for _, a := range []string{"--profiling=false", "--tls-min-version=VersionTLS12"} {
			if !slices.Contains(c.args, a) {
				t.Errorf("%s lacks %s", c.name, a)
			}
		}
	}
}

func TestKubeletConfiguration(t *testing.T) {
	for i, s := range testSpecs(t) {
		s.Node.Shared = i%2 == 0
		c, err := testBuilder(t, s).ownKubeletConfiguration()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case *c.Authentication.Anonymous.Enabled, !*c.Authentication.Webhook.Enabled, c.Authorization.Mode != "Webhook",
			c.ReadOnlyPort != 0, !c.RotateCertificates, *c.EnableProfilingHandler:
			t.Errorf("node %d: %+v", i+1, c)
		case s.Node.Shared != (c.EvictionHard != nil), s.Node.Shared != (c.FailSwapOn != nil):
			t.Errorf("node %d: shared %v, yet %v", i+1, s.Node.Shared, c.EvictionHard)
		}
		if !slices.ContainsFunc(s.Files, func(f engine.File) bool { return f.Path == c.TLSCertFile }) {
			t.Errorf("node %d: nothing writes %s", i+1, c.TLSCertFile)
		}
	}
}
