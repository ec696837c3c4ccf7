package doctor

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The labels that the kubelet gives containers.
const (
	labelContainer = "io.kubernetes.container.name"
	labelPod       = "io.kubernetes.pod.name"
	labelNamespace = "io.kubernetes.pod.namespace"
)

// containersRun compares what the manifests ask for with what runs.
func containersRun(ctx context.Context, h *Host) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	pods, out := h.staticPods()
	unknown := warning("it is not known which containers run").advise("see what is said of containerd")
	conn, err := h.connect()
	if err != nil {
		return append(out, unknown.because(err))
	}
	defer conn.Close()
	client := cri.NewRuntimeServiceClient(conn)
	list, err := client.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return append(out, unknown.because(err))
	}
	for _, p := range pods {
		out = append(out, h.judgePod(ctx, client, p, runs(p, list.Containers)))
	}
	return out
}

// runs are the containers of a pod, the newest first: the kubelet keeps the last that ended.
func runs(p staticPod, all []*cri.Container) []*cri.Container {
	var out []*cri.Container
	for _, c := range all {
		if c.Labels[labelContainer] == p.container.Name && c.Labels[labelNamespace] == cmp.Or(p.namespace, "default") &&
			strings.HasPrefix(c.Labels[labelPod], p.name+"-") {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *cri.Container) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	return out
}

func (h *Host) judgePod(ctx context.Context, client cri.RuntimeServiceClient, p staticPod, runs []*cri.Container) Finding {
	if len(runs) == 0 {
		return problem("%s has a manifest, but no container", p.name).why("the kubelet has not started it")
	}
	now := runs[0]
	restarts := now.GetMetadata().GetAttempt()
	if now.State != cri.ContainerState_CONTAINER_RUNNING {
		return problem("%s does not run", p.name).why(h.ending(ctx, client, now, restarts)).
			advise("mend what its log says: the kubelet tries again by itself")
	}
	if restarts == 0 {
		return ok("%s runs, no restarts", p.name)
	}
	s, err := client.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: now.Id})
	if err != nil {
		return warning("%s runs, %d restarts", p.name, restarts).because(err)
	}
	since := time.Unix(0, s.GetStatus().GetStartedAt())
	// A new member of etcd is started again while this host is made a control plane.
	if time.Since(since) > settled || len(runs) < 2 || since.Before(h.node.completed) {
		return ok("%s runs, %d restarts, last at %s", p.name, restarts, since.Format(time.DateTime))
	}
	return warning("%s runs, but was started again %.0f s ago", p.name, time.Since(since).Seconds()).
		why(h.ending(ctx, client, runs[1], restarts)).advise("mend what its log says, if that happens again")
}

// ending tells how a container ended.
func (h *Host) ending(ctx context.Context, client cri.RuntimeServiceClient, c *cri.Container, restarts uint32) string {
	r, err := client.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.Id})
	if err != nil {
		return fmt.Sprintf("how it ended is not known: %v", err)
	}
	s := r.Status
	if s.State != cri.ContainerState_CONTAINER_EXITED {
		return fmt.Sprintf("it is being started, %d restarts", restarts)
	}
	text := fmt.Sprintf("it ended with exit code %d (%s) at %s, %d restarts", s.ExitCode, cmp.Or(s.Reason, "no reason"),
		time.Unix(0, s.FinishedAt).Format(time.DateTime), restarts)
	if s.Message != "" {
		text += ": " + s.Message
	}
	lines, err := containerLog(h.path(s.LogPath))
	if err != nil {
		return fmt.Sprintf("%s\n(its log cannot be read: %v)", text, err)
	}
	return strings.Join(append([]string{text}, lines...), "\n")
}

// tailSize is more than some lines take.
const tailSize = 64 << 10

// containerLog gives the last lines of a log without what the runtime puts before each: time, stream and tag.
func containerLog(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > tailSize {
		if _, err := f.Seek(-tailSize, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, tailSize))
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range bytes.Lines(data) {
		fields := strings.SplitN(string(bytes.TrimSpace(line)), " ", 4)
		out = append(out, fields[len(fields)-1])
	}
	return out[max(0, len(out)-logLines):], nil
}
