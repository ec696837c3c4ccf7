package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/etcd"
	"slipway.dev/slipway/internal/fault"
)

// isCopied tells whether the cluster begins with the data of another one.
func (n *builder) isCopied() bool { return len(n.Copied) > 0 }

// findsData tells whether there are data in etcd already.
func (n *builder) findsData() bool { return n.joinsEtcd() || n.Node.ControlPlane && n.isCopied() }

// etcdFirst is the step that runs etcd without the API server.
func (n *builder) etcdFirst(needs ...string) engine.Step {
	if n.isCopied() {
		return n.copiedData("copied-data", needs...)
	}
	return n.joinEtcd("etcd", needs...)
}

// copiedData runs etcd with the data of another cluster, and takes out of them what speaks of that one and would be believed. The
// first control plane does it, the others wait for that: no API server starts before, as kubelets, load balancers and controllers
// believe the first one that they find.
func (n *builder) copiedData(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) {
			return []string{"take out of the data what speaks of the other cluster"}, nil
		},
		Do: func(ctx context.Context, progress func(string)) error {
			files, err := n.manifests(n.etcd())
			if err == nil {
				err = n.host.WriteFiles(name, files)
			}
			if err != nil {
				return err
			}
			err = await(ctx, "wait for etcd", n.explained(n.etcdReady, "etcd"), progress)
			if err == nil {
				err = await(ctx, "wait for etcd's data", n.adopt, progress)
			}
			return notAdopted(err)
		},
	}
}

func notAdopted(err error) error {
	if err == nil {
		return nil
	}
	return fault.New("data-not-adopted", "take out of the data what speaks of the cluster that they are of", err,
		"run the same command again: it goes on where it stopped")
}

// etcdReady also wants most members to be there.
func (n *builder) etcdReady(ctx context.Context) error {
	return ask(ctx, &rest.Config{Host: fmt.Sprintf("http://%s:%d", loopback, bootstrap.EtcdMetricsPort)}, "/readyz")
}

// adoption is the key by which etcd's data tell whose they are: whose authority it is.
const adoption = "/slipway/adopted"

func (n *builder) adopt(ctx context.Context) error {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(ca)
	self := hex.AppendEncode(nil, sum[:])
	e, err := etcd.Open(ctx, []string{https(loopback, bootstrap.EtcdPort)}, EtcdFiles())
	if err != nil {
		return err
	}
	defer e.Close()
	has, err := e.Value(ctx, adoption)
	switch {
	case err != nil || bytes.Equal(has, self):
		return err
	case !n.Node.Init:
		return errors.New("they are still another cluster's")
	}
	if err := errors.Join(forget(ctx, e), tellAuthority(ctx, e, ca), n.tellAddresses(ctx, e)); err != nil {
		return err
	}
	return e.Put(ctx, adoption, self) // last: now they are this cluster's
}

// forget deletes what is made anew when it is not there.
func forget(ctx context.Context, e *etcd.Client) error {
	for _, key := range []string{
		// The other cluster's API servers would be among those of the Service "kubernetes" until their leases end.
		"/registry/masterleases/", "/registry/endpointslices/default/kubernetes", "/registry/services/endpoints/default/kubernetes",
		// API servers add their own authority for clients to those that are there, and programs that extend the API would trust
		// the other cluster's administrators.
		"/registry/configmaps/kube-system/extension-apiserver-authentication",
		// Those who led there do not here, and nobody waits for that.
		"/registry/leases/kube-system/kube-controller-manager", "/registry/leases/kube-system/kube-scheduler",
	} {
		if err := e.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// tellAuthority writes the ConfigMap of every namespace by which its pods know the API. The controller manager would do it a little
// later: pods that start before refuse the API, and try again only after some seconds.
func tellAuthority(ctx context.Context, e *etcd.Client, ca []byte) error {
	keys, err := e.Keys(ctx, "/registry/configmaps/")
	if err != nil {
		return err
	}
	for _, key := range keys {
		if !strings.HasSuffix(key, "/kube-root-ca.crt") {
			continue
		}
		if err := rewrite(ctx, e, key, func(m *corev1.ConfigMap) { m.Data = map[string]string{"ca.crt": string(ca)} }); err != nil {
			return err
		}
	}
	return nil
}

// tellAddresses does what kubelets do a little later: to the pods in its network a kubelet gives the address that the API has of its
// node when it sees them first, and never changes that. Their probes would ask the other cluster's node.
func (n *builder) tellAddresses(ctx context.Context, e *etcd.Client) error {
	for _, m := range n.Copied {
		err := rewrite(ctx, e, "/registry/minions/"+m.Name, func(o *corev1.Node) { tell(o, m.Addresses()) })
		if err != nil {
			return err
		}
	}
	return nil
}

// tell gives a node its addresses in place of those that it has, which are as many.
func tell(o *corev1.Node, addresses []netip.Addr) {
	for i, a := range o.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && len(addresses) > 0 {
			o.Status.Addresses[i].Address, addresses = addresses[0].String(), addresses[1:]
		}
	}
}

// rewrite changes an object, if it is there, in the way that API servers keep it:
// https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
func rewrite[T runtime.Object](ctx context.Context, e *etcd.Client, key string, change func(T)) error {
	data, err := e.Value(ctx, key)
	if err != nil || data == nil {
		return err
	}
	data, err = changed(data, change)
	if err != nil {
		return hopeless{fmt.Errorf("change %q in etcd: %w", key, err)}
	}
	return e.Put(ctx, key, data)
}

func changed[T runtime.Object](data []byte, change func(T)) ([]byte, error) {
	o, kind, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	object, ok := o.(T)
	if !ok {
		return nil, fmt.Errorf("it is a %v", kind)
	}
	change(object)
	encoder := scheme.Codecs.EncoderForVersion(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), kind.GroupVersion())
	return runtime.Encode(encoder, object)
}

// copiedTokens comes before the controllers.
func (n *builder) copiedTokens(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) { return []string{"take out tokens of the other cluster"}, nil },
		Do: func(ctx context.Context, _ func(string)) error {
			cfg, err := n.superAdmin()
			if err != nil {
				return err
			}
			c, err := kubernetes.NewForConfig(cfg)
			if err != nil {
				return err
			}
			return notAdopted(forgetTokens(ctx, c))
		},
	}
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
		bootstrap.UnitDir + "/multi-user.target.wants/kubelet.service",
		bootstrap.UnitDir + "/multi-user.target.wants/slipway-balancer.service",
		CalicoKubeconfig,
	}, []string{"pki"}
}
