package node

import (
	"context"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
)

// TestMembers: others are found by their pods, and where there are none yet, by the addresses of the control planes.
func TestMembers(t *testing.T) {
	var objects []runtime.Object
	for name, address := range map[string]string{"cp-1": "192.0.2.1", "cp-2": "192.0.2.2"} {
		objects = append(objects,
			&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "kube-system", Name: "etcd-" + name, Labels: map[string]string{"component": "etcd", "tier": "control-plane"},
					Annotations: map[string]string{etcdURLs: "https://" + name + ":2379"},
				},
				Spec: corev1.PodSpec{NodeName: name},
			},
			&corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: controlPlaneLabels()},
				Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
					{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address},
				}},
			})
	}
	objects = append(objects, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "worker"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.3"}}},
	})
	c := fake.NewClientset(objects...)
	for what, find := range map[string]func(context.Context, kubernetes.Interface, string) ([]string, error){
		"https://cp-1:2379": membersInPods, "https://192.0.2.1:2379": membersOnNodes,
	} {
		if got, err := find(t.Context(), c, "cp-2"); err != nil || !slices.Equal(got, []string{what}) {
			t.Errorf("%v, %v; want %s", got, err, what)
		}
	}
}
