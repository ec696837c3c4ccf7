package addons

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const corednsName = "coredns"

// coreDNS is the manifest of Kubernetes' own repository with its placeholders filled in, patched to
// what kubeadm runs under the same names.
func coreDNS(cfg Config, manifests Manifests) (Addon, error) {
	const component, path = "coredns-manifests", "coredns/coredns.yaml.base"
	text, ok := manifests[component][path]
	if !ok {
		return Addon{}, fmt.Errorf("no %q in component %q", path, component)
	}
	filled, err := fillPlaceholders(cfg, string(text))
	if err != nil {
		return Addon{}, fmt.Errorf("%s: %w", path, err)
	}
	set, err := decode([]byte(filled))
	if err != nil {
		return Addon{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := patchCoreDNS(cfg, set); err != nil {
		return Addon{}, fmt.Errorf("%s: %w", path, err)
	}
	wait := Wait{Kind: KindDeployment, Name: corednsName, Min: int(corednsReplicas(cfg))}
	return Addon{Objects: set, Waits: []Wait{wait}}, nil
}

// fillPlaceholders refuses a manifest that lacks one, or has one that it does not know.
func fillPlaceholders(cfg Config, text string) (string, error) {
	for _, p := range []struct{ placeholder, value string }{
		{"__MACHINE_GENERATED_WARNING__", "filled in by slipway"},
		{"__DNS__DOMAIN__", cfg.DNSDomain},
		{"__DNS__SERVER__", cfg.DNSIP.String()},
		{"__DNS__MEMORY__LIMIT__", "170Mi"}, // kubeadm's
	} {
		if err := replaceText(&text, p.placeholder, p.value); err != nil {
			return "", err
		}
	}
	if i := strings.Index(text, "__DNS__"); i >= 0 {
		line, _, _ := strings.Cut(text[i:], "\n")
		return "", fmt.Errorf("unknown placeholder %q", line)
	}
	return text, nil
}

func patchCoreDNS(cfg Config, set []*unstructured.Unstructured) error {
	withoutAddonManager(set)
	if err := edit(set, "ConfigMap", corednsName, corefile(cfg)); err != nil {
		return err
	}
	return edit(set, "Deployment", corednsName,
		func(d *appsv1.Deployment) error {
			return setComponentImage(cfg, &d.Spec.Template.Spec, corednsName, corednsName)
		},
		corednsSpread(cfg),
		corednsProbe,
		corednsTolerations,
	)
}

// withoutAddonManager drops the label of a controller that no cluster of ours runs.
func withoutAddonManager(set []*unstructured.Unstructured) {
	for _, u := range set {
		labels := u.GetLabels()
		delete(labels, "addonmanager.kubernetes.io/mode")
		u.SetLabels(labels)
	}
}

// corednsReplicas: a second one is worth its memory only where a node can fail without the other.
func corednsReplicas(cfg Config) int32 {
	return int32(min(cfg.Nodes, 2))
}

// corednsSpread makes upstream's preference for different nodes a requirement: all nodes of a new
// cluster become ready within moments, and a preference puts both replicas on the first of them.
func corednsSpread(cfg Config) patch[appsv1.Deployment] {
	return func(d *appsv1.Deployment) error {
		replicas := corednsReplicas(cfg)
		d.Spec.Replicas = &replicas
		a := d.Spec.Template.Spec.Affinity
		if a == nil || a.PodAntiAffinity == nil || len(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
			return fmt.Errorf("spec.template.spec.affinity.podAntiAffinity is not in the manifest")
		}
		term := a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm
		if replicas > 1 {
			a.PodAntiAffinity = &corev1.PodAntiAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term},
			}
		}
		return nil
	}
}

// corednsProbe: the probe is an HTTP request, and DNS is what everything else waits for.
func corednsProbe(d *appsv1.Deployment) error {
	c, err := container(&d.Spec.Template.Spec, corednsName)
	if err != nil {
		return err
	}
	if c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet == nil {
		return fmt.Errorf("container %q: readinessProbe.httpGet is not in the manifest", c.Name)
	}
	everySecond(c.ReadinessProbe)
	return nil
}

// corednsTolerations lets DNS run on control planes, as kubeadm does: until workers join there is
// nowhere else.
func corednsTolerations(d *appsv1.Deployment) error {
	const controlPlane = "node-role.kubernetes.io/control-plane"
	pod := &d.Spec.Template.Spec
	for _, t := range pod.Tolerations {
		if t.Key == controlPlane {
			return fmt.Errorf("toleration of %s is already in the manifest", controlPlane)
		}
	}
	pod.Tolerations = append(pod.Tolerations, corev1.Toleration{Key: controlPlane, Effect: corev1.TaintEffectNoSchedule})
	return nil
}
