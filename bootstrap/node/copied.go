package node

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/internal/fault"
)

// copiedData takes out of the data of another cluster, which this one begins with, what speaks of that one and would be believed.
// It comes before the controllers, which make some of it anew, and does not wait until the API server says that it is ready: from then
// on the kubelets begin to start pods by what is there.
func (n *builder) copiedData(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) {
			return []string{"take out of the data what speaks of the other cluster"}, nil
		},
		Do: func(ctx context.Context, progress func(string)) error {
			if err := await(ctx, "wait for the API server", n.disown, progress); err != nil {
				return fault.New("data-not-adopted", "take out of the data what speaks of the cluster that they are of", err,
					"run the same command again: it goes on where it stopped")
			}
			return nil
		},
	}
}

func (n *builder) disown(ctx context.Context) error {
	cfg, err := n.superAdmin()
	if err != nil {
		return err
	}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	for _, do := range []func(context.Context, kubernetes.Interface) error{
		n.tellAuthority, forgetHostPods, forgetLeaders, n.forgetServers, forgetAuthorities, forgetTokens,
	} {
		if err := do(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// masterLeases is where API servers say that they live, each by its address.
const masterLeases = "/registry/masterleases/"

// forgetServers: the other cluster's API servers would be among those of the Service "kubernetes" until their leases end.
func (n *builder) forgetServers(ctx context.Context, c kubernetes.Interface) error {
	var own []string
	for _, m := range n.Cluster.ControlPlanes {
		own = append(own, m.Address.String())
	}
	e, err := etcd.Open(ctx, []string{https(loopback, bootstrap.EtcdPort)}, EtcdFiles())
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.DeleteOthers(ctx, masterLeases, own); err != nil {
		return err
	}
	const service = "kubernetes"
	parts := c.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	s, err := parts.Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return err
	}
	s.Endpoints = slices.DeleteFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool { return !slices.Contains(own, e.Addresses[0]) })
	if _, err := parts.Update(ctx, s, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) { // who else writes it knows
		return err
	}
	return nil
}

// rootCA is the ConfigMap of every namespace by which its pods know the API.
const rootCA = "kube-root-ca.crt"

// tellAuthority does what the controller manager does a little later: pods that start before would refuse the API, and try again only
// after some seconds.
func (n *builder) tellAuthority(ctx context.Context, c kubernetes.Interface) error {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	maps, err := c.CoreV1().ConfigMaps(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + rootCA})
	if err != nil {
		return err
	}
	for _, m := range maps.Items {
		m.Data = map[string]string{"ca.crt": string(ca)}
		if _, err := c.CoreV1().ConfigMaps(m.Namespace).Update(ctx, &m, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

// forgetHostPods: a pod in its node's network keeps the address that the node had, at which nobody answers its probes. Those that
// somebody keeps running are made anew.
func forgetHostPods(ctx context.Context, c kubernetes.Interface) error {
	pods, err := c.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	at := int64(0)
	for _, p := range pods.Items {
		if !p.Spec.HostNetwork || metav1.GetControllerOf(&p) == nil {
			continue
		}
		opts := metav1.DeleteOptions{GracePeriodSeconds: &at, Preconditions: metav1.NewUIDPreconditions(string(p.UID))}
		if err := ignoreGone(c.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, opts)); err != nil {
			return fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	return nil
}

// forgetAuthorities: API servers add their own authority for clients to those that are there, and programs that extend the API would
// trust the other cluster's administrators. What is deleted they make anew.
func forgetAuthorities(ctx context.Context, c kubernetes.Interface) error {
	return ignoreGone(c.CoreV1().ConfigMaps(metav1.NamespaceSystem).Delete(ctx, "extension-apiserver-authentication", metav1.DeleteOptions{}))
}

// forgetLeaders: those who led there do not here, and nobody waits for that.
func forgetLeaders(ctx context.Context, c kubernetes.Interface) error {
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		if err := ignoreGone(c.CoordinationV1().Leases(metav1.NamespaceSystem).Delete(ctx, name, metav1.DeleteOptions{})); err != nil {
			return err
		}
	}
	return nil
}

// forgetTokens: tokens that are kept in Secrets are signed by the other cluster's key. Where there is none, the controller manager
// makes one.
func forgetTokens(ctx context.Context, c kubernetes.Interface) error {
	list, err := c.CoreV1().Secrets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: "type=" + string(corev1.SecretTypeServiceAccountToken),
	})
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]any{corev1.ServiceAccountTokenKey: nil}})
	if err != nil {
		return err
	}
	for _, s := range list.Items {
		_, err := c.CoreV1().Secrets(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "slipway"})
		if err := ignoreGone(err); err != nil {
			return fmt.Errorf("token %s/%s: %w", s.Namespace, s.Name, err)
		}
	}
	return nil
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Origin is where, below a machine's / and the directory that is /var/lib/kubelet there, lies what made it a node of its cluster:
// identity, control plane, and what starts the node before it has those of another cluster. Whoever makes a cluster out of a
// copied machine removes them first.
func Origin() (inRoot, inKubelet []string) {
	return []string{
		pkiDir, adminKubeconfig, superAdminKubeconfig, controllerManagerKubeconfig, kubernetesDir + "/scheduler.conf", kubeletKubeconfig,
		manifestOf("etcd"), manifestOf("kube-apiserver"), manifestOf("kube-controller-manager"), manifestOf("kube-scheduler"),
		manifestOf("keepalived"), BalancerServers,
		"/etc/systemd/system/multi-user.target.wants/kubelet.service",
		"/etc/systemd/system/multi-user.target.wants/slipway-balancer.service",
		calicoConfig, calicoConfig + ".staged", cniConfigs + "/calico-kubeconfig",
	}, []string{"pki"}
}
