package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeRuntime speaks the kubelet's protocol on a real socket, and says of its containers what it was told.
type fakeRuntime struct {
	cri.UnimplementedRuntimeServiceServer
	all []*cri.ContainerStatus
}

func (f *fakeRuntime) ListContainers(context.Context, *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	r := &cri.ListContainersResponse{}
	for _, s := range f.all {
		r.Containers = append(r.Containers, &cri.Container{
			Id: s.Id, Metadata: s.Metadata, State: s.State, CreatedAt: s.CreatedAt, Labels: s.Labels,
		})
	}
	return r, nil
}

func (f *fakeRuntime) ContainerStatus(_ context.Context, q *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	for _, s := range f.all {
		if s.Id == q.ContainerId {
			return &cri.ContainerStatusResponse{Status: s}, nil
		}
	}
	return nil, errors.New("there is no such container")
}

func (f *fakeRuntime) serve(t *testing.T, r root) {
	t.Helper()
	r.write(t, "/run/containerd/x", "")
	listener, err := net.Listen("unix", r.path("/run/containerd/containerd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(s, f)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
}

// run adds a container of a static pod, the given time after it was made.
func (f *fakeRuntime) run(name string, attempt uint32, state cri.ContainerState, age time.Duration) *cri.ContainerStatus {
	at := time.Now().Add(-age).UnixNano()
	s := &cri.ContainerStatus{
		Id: fmt.Sprintf("%s-%d", name, attempt), Metadata: &cri.ContainerMetadata{Name: name, Attempt: attempt}, State: state,
		CreatedAt: at, StartedAt: at, FinishedAt: at,
		Labels: map[string]string{
			"io.kubernetes.container.name": name, "io.kubernetes.pod.name": name + "-cp", "io.kubernetes.pod.namespace": "kube-system",
		},
	}
	f.all = append(f.all, s)
	return s
}

const (
	alive = cri.ContainerState_CONTAINER_RUNNING
	dead  = cri.ContainerState_CONTAINER_EXITED
)

func TestStaticPods(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), controlPlane(), true)
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "other"} {
		r.manifest(t, name, "http://127.0.0.1:1", "/")
	}
	f := &fakeRuntime{}
	f.serve(t, r)
	f.run("etcd", 0, alive, time.Hour)
	f.run("kube-apiserver", 3, dead, 2*time.Hour) // an older one
	ended := f.run("kube-apiserver", 4, dead, time.Hour)
	ended.ExitCode, ended.Reason, ended.LogPath = 137, "OOMKilled", "/var/log/pods/a/4.log"
	r.write(t, ended.LogPath, strings.Repeat("2026-01-01T00:00:00.0Z stderr F earlier\n", 9)+
		"2026-01-01T00:00:00.0Z stderr F one two\n2026-01-01T00:00:00.0Z stdout F token abcdef.0123456789abcdef\n")
	f.run("kube-controller-manager", 7, alive, time.Hour)
	f.run("kube-scheduler", 1, dead, time.Minute).ExitCode = 2 // without a log
	f.run("kube-scheduler", 2, alive, time.Second)
	f.run("other", 0, alive, time.Hour).Labels["io.kubernetes.pod.namespace"] = "kube-system-not"

	r.completed(t, time.Minute)
	found := r.examine(t, "static-pods")
	expect(t, found, fine("etcd runs, no restarts"),
		problem("kube-apiserver does not run", "exit code 137 (OOMKilled)", "4 restarts", "\none two\ntoken abcdef [secret]"),
		fine("kube-controller-manager runs, 7 restarts"),
		warned("kube-scheduler runs, but was started again", "exit code 2", "its log cannot be read"),
		problem("other has a manifest, but no container", "kubelet"))
	if n := strings.Count(found[1].Why, "earlier"); n != 3 {
		t.Errorf("the log has %d earlier lines", n)
	}
}

// TestStaticPodsNew: what was started again before the host was a node is nobody's worry.
func TestStaticPodsNew(t *testing.T) {
	r := newRoot(t)
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		r.manifest(t, name, "http://127.0.0.1:1", "/")
	}
	f := &fakeRuntime{}
	f.serve(t, r)
	f.run("etcd", 0, dead, 9*time.Second).ExitCode = 2
	f.run("etcd", 1, alive, 8*time.Second)
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		f.run(name, 0, alive, 8*time.Second)
	}
	others := []want{fine(), fine(), fine()}
	r.save(t, theCluster("127.0.0.1:1"), controlPlane(), false)
	expect(t, r.examine(t, "static-pods"), append([]want{warned("etcd runs, but was started again")}, others...)...)
	r.save(t, theCluster("127.0.0.1:1"), controlPlane(), true)
	r.completed(t, 5*time.Second)
	expect(t, r.examine(t, "static-pods"), append([]want{fine("etcd runs, 1 restarts")}, others...)...)
}

// completed makes it that long ago that the host became a node.
func (r root) completed(t *testing.T, ago time.Duration) {
	t.Helper()
	at := time.Now().Add(-ago)
	if err := os.Chtimes(r.path("/var/lib/slipway/node.json"), at, at); err != nil {
		t.Fatal(err)
	}
}

func TestStaticPodsMissing(t *testing.T) {
	r := newRoot(t)
	r.save(t, theCluster("127.0.0.1:1"), controlPlane(), true)
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", ".kube-scheduler"} {
		r.manifest(t, name, "http://127.0.0.1:1", "/")
	}
	r.write(t, "/etc/kubernetes/manifests/bad.yaml", "{}")
	want := []want{
		problem("cannot use /etc/kubernetes/manifests/bad.yaml", "not a pod"), problem("etcd has no manifest"), problem("kube-scheduler has no manifest"),
	}
	expect(t, r.examine(t, "static-pods"), append(want, warned("not known which containers run", "no such file"))...)
	(&fakeRuntime{}).serve(t, r)
	expect(t, r.examine(t, "static-pods"), append(want, problem("no container"), problem("no container"))...)
	r.remove(t, "/var/lib/slipway")
	r.write(t, "/etc/kubernetes/kubelet.conf", "") // as kubeadm has it, with etcd elsewhere
	expect(t, r.examine(t, "static-pods"), want[0], want[2], problem("no container"), problem("no container"))
}
