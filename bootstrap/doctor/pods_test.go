package doctor_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// aPod became ready, or not, that long ago.
func aPod(name string, ready corev1.ConditionStatus, ago time.Duration) corev1.Pod {
	p := corev1.Pod{}
	p.Name, p.CreationTimestamp = name, metav1.NewTime(time.Now().Add(-time.Hour))
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(time.Now().Add(-ago))}}
	return p
}

func TestPods(t *testing.T) {
	a, r := newAPI(t)
	ended, static, going := aPod("ended", "False", time.Hour), aPod("static", "False", time.Hour), aPod("going", "False", time.Hour)
	ended.Status.Phase = corev1.PodSucceeded
	static.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: ""}
	going.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	imageless := aPod("kube-proxy-x", "False", 2*time.Minute)
	imageless.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "kube-proxy", State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such host"},
	}}}
	a.answer = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(corev1.PodList{
			TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"},
			Items: []corev1.Pod{
				aPod("calico-node-x", "True", time.Minute), imageless, aPod("begun", "False", time.Second), ended, static, going,
			},
		})
	}
	expect(t, r.examine(t, "pods"), problem("pod kube-proxy-x is not ready", "container kube-proxy: ErrImagePull: no such host"), fine("1 pods"))
	a.Close()
	expect(t, r.examine(t, "pods"), warned("not known which pods", "refused"))
}
