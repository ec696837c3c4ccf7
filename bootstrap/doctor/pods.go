package doctor

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/addons"
)

// pods looks at those of the cluster's own on this node, by the kubelet's kubeconfig. The control plane's are looked at by themselves,
// also when there is no API.
func pods(ctx context.Context, h *Host) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	list, err := h.listPods(ctx)
	if err != nil {
		return []Finding{warning("it is not known which pods are on this node").because(err).advise("see what is said of the API")}
	}
	var out []Finding
	ready := 0
	for _, p := range list {
		_, static := p.Annotations[corev1.MirrorPodAnnotationKey]
		if static || p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded {
			continue
		}
		why := addons.PodProblem(&p)
		if why == "" {
			ready++
		} else if time.Since(lastChange(&p)) > settled {
			out = append(out, problem("pod %s is not ready", p.Name).why(why))
		}
	}
	return append(out, ok("%d pods of the cluster's own are ready", ready))
}

func (h *Host) listPods(ctx context.Context) ([]corev1.Pod, error) {
	cfg, err := h.kubeletConfig()
	if err != nil {
		return nil, err
	}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	list, err := c.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + h.node.Name})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// lastChange is when a pod was ready for the last time, or was made.
func lastChange(p *corev1.Pod) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && !c.LastTransitionTime.IsZero() {
			return c.LastTransitionTime.Time
		}
	}
	return p.CreationTimestamp.Time
}
