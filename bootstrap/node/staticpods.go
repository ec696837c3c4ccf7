package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	kubelettypes "k8s.io/kubelet/pkg/types"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
)

const (
	manifestDir = kubernetesDir + "/manifests"
	pkiDir      = kubernetesDir + "/pki"
	etcdPKI     = pkiDir + "/etcd"
	etcdData    = "/var/lib/etcd"

	// APIServerManifest is the file by which the kubelet runs the API server.
	APIServerManifest = manifestDir + "/kube-apiserver.yaml"
)

// component is one part of the control plane as the kubelet runs it.
type component struct {
	name string
	args []string
	// changed are the names of the flags that the cluster's settings have changed or added.
	changed []string

	annotations map[string]string
	cpu         string
	memory      string
	host        string // where its health is asked for
	port        int
	scheme      corev1.URIScheme
	liveness    string // paths
	ready       string
	mounts      []mount

	capabilities []corev1.Capability // of a component that needs some, and then has no others
}

type mount struct {
	name, path string
	kind       corev1.HostPathType
	writable   bool
}

// staticPods runs the API server, and etcd where that does not have a step of its own.
func (n *builder) staticPods(name string, needs ...string) engine.Step {
	step := engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			files, err := n.manifests(n.servers()...)
			change := engine.Differing(files)
			for _, dir := range n.serverDirs() {
				if _, err := os.Stat(dir); err != nil {
					change = append(change, "make "+dir)
				}
			}
			return append(change, each("start again ", n.outdated(ctx))...), err
		},
		Do: func(ctx context.Context, _ func(string)) error {
			for _, dir := range n.serverDirs() {
				if err := n.host.Mkdir(name, dir, 0o700); err != nil {
					return err
				}
			}
			if len(n.outdated(ctx)) > 0 {
				return n.startAgain(ctx, name)
			}
			files, err := n.manifests(n.servers()...)
			if err != nil {
				return err
			}
			return n.host.WriteFiles(name, files)
		},
	}
	if n.beginsEtcd() {
		return n.startingOver(step)
	}
	return step
}

// beginsEtcd tells whether the node's member of etcd is one of the first.
func (n *builder) beginsEtcd() bool { return !n.Node.Joins && !n.externalEtcd() }

// servers are the components that staticPods runs. What a node that is only changed has to start again it starts at the same moment.
func (n *builder) servers() []component {
	list := []component{n.apiServer()}
	if n.beginsEtcd() {
		list = append(list, n.etcd())
	}
	if n.Kept {
		list = append(list, n.controllerManager(), n.scheduler())
	}
	return list
}

func (n *builder) serverDirs() []string {
	if n.externalEtcd() {
		return []string{auditLogDir}
	}
	return []string{auditLogDir, etcdData}
}

// outdated gives the components of a node that is only changed which do not run as they are to.
func (n *builder) outdated(ctx context.Context) (names []string) {
	if !n.Kept {
		return nil
	}
	for _, c := range n.servers() {
		if ok, err := cri.RunsAs(ctx, containerdSocket, c.name, n.Node.Name, c.command()); err != nil || !ok {
			names = append(names, c.name)
		}
	}
	return names
}

// startAgain ends the control plane while the kubelet is stopped, which starts it by new manifests then. One that runs would end the pod
// of etcd, and start it again only when it has told the API server so, which waits for etcd: that took more than a minute. And one that
// starts waits for an API server that does not answer, before it starts anything: so all of it ends.
func (n *builder) startAgain(ctx context.Context, step string) (err error) {
	files, err := n.manifests(n.servers()...)
	if err != nil {
		return err
	}
	defer func() { // whatever else has failed, or been interrupted
		err = errors.Join(err, n.host.StartUnit(context.WithoutCancel(ctx), n.kubeletUnit()))
	}()
	if err := n.host.PauseUnit(ctx, n.kubeletUnit().Name); err != nil {
		return err
	}
	if err := n.host.WriteFiles(step, files); err != nil {
		return err
	}
	pods, err := cri.OpenPods(containerdSocket)
	if err != nil {
		return err
	}
	defer pods.Close()
	for _, c := range n.servers() {
		labels := map[string]string{
			kubelettypes.KubernetesPodNamespaceLabel: metav1.NamespaceSystem, kubelettypes.KubernetesPodNameLabel: c.name + "-" + n.Node.Name,
		}
		if err := pods.Remove(ctx, labels); err != nil {
			return err
		}
	}
	return nil
}

// controllers runs the controller manager and the scheduler, and ends when both are healthy.
func (n *builder) controllers(name string, needs ...string) engine.Step {
	all := []component{n.controllerManager(), n.scheduler()}
	healthy := func(ctx context.Context) error {
		for _, c := range all {
			// They make their certificates at each start. Nothing is sent but the question, to this host itself.
			cfg := &rest.Config{Host: https(c.host, c.port), TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
			if err := ask(ctx, cfg, c.liveness); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
		return nil
	}
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			files, err := n.manifests(all...)
			change := engine.Differing(files)
			if healthy(ctx) != nil {
				change = append(change, "wait for the controller manager and the scheduler")
			}
			return change, err
		},
		Do: func(ctx context.Context, progress func(string)) error {
			files, err := n.manifests(all...)
			if err != nil {
				return err
			}
			if err := n.host.WriteFiles(name, files); err != nil {
				return err
			}
			const what = "wait for the controller manager and the scheduler"
			if err := await(ctx, what, n.explained(healthy, all[0].name, all[1].name), progress); err != nil {
				return fault.New("controllers-not-ready", what, err,
					"look at their logs and the kubelet's on this host; run the same command again to go on")
			}
			return nil
		},
	}
}

// manifests are the files by which the kubelet runs components.
func (n *builder) manifests(all ...component) ([]engine.File, error) {
	var out []engine.File
	for _, c := range all {
		data, err := yaml.Marshal(n.pod(c))
		if err != nil {
			return nil, fmt.Errorf("write the pod of %s: %w", c.name, err)
		}
		out = append(out, engine.File{Path: manifestOf(c.name), Data: data, Mode: 0o600})
	}
	return out, nil
}

// isPod tells whether a manifest is whole: after a loss of power a file can be there with nothing in it.
func isPod(path string) bool {
	var p corev1.Pod
	data, err := os.ReadFile(path)
	return err == nil && yaml.Unmarshal(data, &p) == nil && len(p.Spec.Containers) > 0
}

func manifestOf(component string) string { return path.Join(manifestDir, component+".yaml") }

func (n *builder) pod(c component) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: c.name, Namespace: metav1.NamespaceSystem,
			Labels:      map[string]string{"component": c.name, "tier": "control-plane"},
			Annotations: c.annotations,
		},
		Spec: corev1.PodSpec{
			HostNetwork: true, PriorityClassName: "system-node-critical",
			SecurityContext: &corev1.PodSecurityContext{
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		},
	}
	container := corev1.Container{
		Name: c.name, Image: n.refs[c.name], ImagePullPolicy: corev1.PullIfNotPresent,
		Command: c.command(),
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(c.cpu),
		}},
	}
	if c.port != 0 {
		container.StartupProbe = c.probe(c.liveness, 1, 240) // a large etcd takes minutes to load
		container.LivenessProbe = c.probe(c.liveness, 10, 8)
		container.ReadinessProbe = c.probe(c.ready, 1, 3)
	}
	if len(c.capabilities) > 0 {
		container.SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(bool),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: c.capabilities},
		}
	}
	if c.memory != "" {
		container.Resources.Requests[corev1.ResourceMemory] = resource.MustParse(c.memory)
	}
	for _, m := range c.mounts {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: m.name, VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: m.path, Type: &m.kind},
		}})
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{
			Name: m.name, MountPath: m.path, ReadOnly: !m.writable,
		})
	}
	p.Spec.Containers = []corev1.Container{container}
	return p
}

func (c component) probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Host: c.host, Path: path, Port: intstr.FromInt32(int32(c.port)), Scheme: c.scheme, //nolint:gosec // a port
		}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 15,
	}
}

func (c component) command() []string {
	return append([]string{c.name}, slices.Sorted(slices.Values(c.args))...)
}

func readOnlyFile(name, path string) mount {
	return mount{name: name, path: path, kind: corev1.HostPathFile}
}

func readOnlyDir(name, path string) mount {
	return mount{name: name, path: path, kind: corev1.HostPathDirectory}
}

// cipherList has those of TLS 1.2 with forward secrecy and authenticated encryption. TLS 1.3 has no others.
func cipherList() []string {
	return []string{
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	}
}

func ciphers() string { return strings.Join(cipherList(), ",") }
