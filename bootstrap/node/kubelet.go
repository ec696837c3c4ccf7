package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/addons"
	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/certs"
)

const (
	kubeletKubeconfig = kubernetesDir + "/kubelet.conf"
	kubeletConfig     = "/var/lib/kubelet/config.yaml"
	kubeletFlags      = "/var/lib/kubelet/kubeadm-flags.env"
	kubeletInstance   = "/var/lib/kubelet/instance-config.yaml" // read by kubeadm only
	// KubeletUnit is the file of the kubelet's unit: a host without it is no node.
	KubeletUnit    = bootstrap.UnitDir + "/kubelet.service"
	kubeletProgram = bootstrap.ProgramDir + "/kubelet"
)

const kubeletUnitText = `[Unit]
Description=kubelet
Documentation=https://kubernetes.io/docs/
After=containerd.service network-online.target
Wants=containerd.service network-online.target
# It is tried again for as long as it takes.
StartLimitIntervalSec=0

[Service]
EnvironmentFile=` + kubeletFlags + `
ExecStart=` + kubeletProgram + ` --kubeconfig=` + kubeletKubeconfig + ` --config=` + kubeletConfig + ` $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=1
Delegate=yes
KillMode=process
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
`

func (n *builder) kubeletUnit() engine.Unit {
	return engine.Unit{
		Name: "kubelet.service", Files: []string{KubeletUnit, kubeletConfig, kubeletFlags, kubeletKubeconfig, kubeletProgram},
	}
}

func (n *builder) kubelet(name string, needs ...string) engine.Step {
	s := n.service(name, n.kubeletUnit(), []string{"network-online.target"}, func() ([]engine.File, error) {
		own, err := n.ownKubeletConfiguration()
		if err != nil {
			return nil, err
		}
		config, err := yaml.Marshal(own)
		if err != nil {
			return nil, fmt.Errorf("write the kubelet's configuration: %w", err)
		}
		flags := fmt.Sprintf("KUBELET_KUBEADM_ARGS=\"--hostname-override=%s --node-ip=%s%s\"\n", n.Node.Name, n.nodeIPs(), n.nodeLabels())
		return []engine.File{
			{Path: KubeletUnit, Data: []byte(kubeletUnitText), Mode: 0o644},
			{Path: kubeletConfig, Data: config, Mode: 0o600},
			{Path: kubeletFlags, Data: []byte(flags), Mode: 0o600},
			{Path: kubeletInstance, Data: []byte("containerRuntimeEndpoint: unix://" + containerdSocket + "\n"), Mode: 0o644},
		}, nil
	}, needs...)
	do := s.Do
	s.Do = func(ctx context.Context, progress func(string)) error {
		// A directory that is not there when the kubelet starts is only looked for every 20 s.
		if err := n.host.Mkdir(name, manifestDir, 0o700); err != nil {
			return err
		}
		return do(ctx, progress)
	}
	stop := s.Undo
	s.Undo = n.ifOurs(n.kubeletUnit().Name, func(ctx context.Context) error {
		if err := stop(ctx); err != nil {
			return err
		}
		// The pods outlive the kubelet. They end here without their network being taken down one by one, for which the
		// API would have to answer: it all goes at once.
		if err := n.removePods(ctx, name); err != nil {
			return err
		}
		return errors.Join(endCgroups(ctx, podGroups()...), n.host.StopUnit(ctx, "kubepods.slice"))
	})
	return s
}

func (n *builder) nodeIPs() string {
	var all []string
	for _, a := range n.Node.Addresses() {
		all = append(all, a.String())
	}
	return strings.Join(all, ",")
}

// nodeLabels is the flag for the labels that the node registers with, or nothing.
func (n *builder) nodeLabels() string {
	var all []string
	if n.Cluster.Balanced {
		all = append(all, addons.BalancerLabel+"=true")
	}
	for _, key := range slices.Sorted(maps.Keys(n.Node.Labels)) {
		all = append(all, key+"="+n.Node.Labels[key])
	}
	if len(all) == 0 {
		return ""
	}
	return " --node-labels=" + strings.Join(all, ",")
}

// ownKubeletConfiguration is that of this node.
func (n *builder) ownKubeletConfiguration() (*kubelet.KubeletConfiguration, error) {
	c, err := n.kubeletConfiguration()
	if err != nil {
		return nil, err
	}
	c.ServerTLSBootstrap = n.Node.Serving == bootstrap.ServingRequested
	if n.Node.Serving == bootstrap.ServingFile {
		c.TLSCertFile, c.TLSPrivateKeyFile = certs.KubeletPKI+"/kubelet.crt", certs.KubeletPKI+"/kubelet.key"
	}
	if n.Node.ControlPlane && n.Cluster.Dedicated {
		c.RegisterWithTaints = []corev1.Taint{{Key: controlPlaneLabel, Effect: corev1.TaintEffectNoSchedule}}
	}
	for _, t := range n.Node.Taints {
		c.RegisterWithTaints = append(c.RegisterWithTaints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	return c, nil
}

// kubeletConfiguration is that of all nodes of the cluster, also of those that join, with the cluster's settings.
func (n *builder) kubeletConfiguration() (*kubelet.KubeletConfiguration, error) {
	c, err := n.Cluster.Settings.ConfigureKubelet(n.usualKubelet(), n.Cluster.KubernetesVersion)
	if err != nil {
		return nil, fmt.Errorf("merge the settings of the kubelet: %w", err)
	}
	return c, nil
}

// usualKubelet leaves out what has the kubelet's own default.
func (n *builder) usualKubelet() *kubelet.KubeletConfiguration {
	on, off := true, false
	pids := int64(4096) // one pod must not take all process ids of a node
	c := &kubelet.KubeletConfiguration{
		TypeMeta:                 metav1.TypeMeta{APIVersion: "kubelet.config.k8s.io/v1beta1", Kind: "KubeletConfiguration"},
		StaticPodPath:            manifestDir,
		ContainerRuntimeEndpoint: "unix://" + containerdSocket,
		ClusterDNS:               []string{n.Cluster.DNSIP().String()},
		ClusterDomain:            n.Cluster.DNSDomain,
		Authentication: kubelet.KubeletAuthentication{
			Anonymous: kubelet.KubeletAnonymousAuthentication{Enabled: &off},
			Webhook:   kubelet.KubeletWebhookAuthentication{Enabled: &on},
			X509:      kubelet.KubeletX509Authentication{ClientCAFile: caFile},
		},
		Authorization:      kubelet.KubeletAuthorization{Mode: kubelet.KubeletAuthorizationModeWebhook},
		ReadOnlyPort:       0,
		ServerTLSBootstrap: true,
		TLSMinVersion:      "VersionTLS12",
		TLSCipherSuites:    cipherList(),

		SeccompDefault: &on,
		PodPidsLimit:   &pids,

		RotateCertificates:      true,
		EnableSystemLogHandler:  &off,
		EnableDebuggingHandlers: &on, // exec, logs and port-forward
		EnableProfilingHandler:  &off,
		EnableDebugFlagsHandler: &off,
		SerializeImagePulls:     &off,
	}
	c.CgroupDriver = cri.Driver()
	if c.CgroupDriver != "systemd" {
		c.FailCgroupV1 = &off
	}
	if n.Node.Shared {
		shareHost(c)
	}
	return c
}

// shareHost suits a machine on a developer's computer: the kubelet does not evict pods for a disk that others fill, does
// not mind their swap, and looks at each pod every 10 s instead of 60. So long it takes at most until a changed ConfigMap
// is in a pod, and until a static pod that was started before the API server shows up in the API.
func shareHost(c *kubelet.KubeletConfiguration) {
	c.SyncFrequency = metav1.Duration{Duration: 10 * time.Second}
	// It looks at the node itself every 2 s instead of 10: after a boot it may say that the node is not ready just before it is, and says
	// so until it looks again. That it reports what has not changed stays every 5 min, the default only for who looks every 10 s.
	c.NodeStatusUpdateFrequency = metav1.Duration{Duration: 2 * time.Second}
	c.NodeStatusReportFrequency = metav1.Duration{Duration: 5 * time.Minute}
	never, off := int32(100), false
	c.FailSwapOn = &off
	c.ImageGCHighThresholdPercent = &never
	c.EvictionHard = map[string]string{"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"}
}

// StopKubelet stops the kubelet and leaves the pods running.
func StopKubelet(ctx context.Context) error {
	return engine.NewHost(nil).StopUnit(ctx, "kubelet.service")
}
