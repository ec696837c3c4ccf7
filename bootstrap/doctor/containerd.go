package doctor

import (
	"cmp"
	"context"
	"os"
	"slices"

	containerd "github.com/containerd/containerd/v2/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"slipway.dev/slipway/bootstrap"
	hostcri "slipway.dev/slipway/bootstrap/cri"
)

const containerdSocket = hostcri.Socket

// connect reaches the daemon, by its own protocol and the kubelet's. Nobody has been asked yet.
func (h *Host) connect() (*grpc.ClientConn, error) {
	socket := h.path(containerdSocket)
	if _, err := os.Stat(socket); err != nil {
		return nil, err
	}
	return grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func runtimeAnswers(ctx context.Context, h *Host) []Finding {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	silent := problem("containerd does not answer on %s", containerdSocket).advise("restart it with `systemctl restart containerd`: " +
		"containers go on running; then look at `journalctl -u containerd`")
	conn, err := h.connect()
	if err != nil {
		return []Finding{silent.because(err)}
	}
	defer conn.Close()
	c, err := containerd.NewWithConn(conn)
	if err != nil {
		return []Finding{silent.because(err)}
	}
	v, err := c.Version(ctx)
	if err != nil {
		return []Finding{silent.because(err)}
	}
	why, err := hostcri.PluginFailed(ctx, c)
	if err := cmp.Or(why, err); err != nil {
		return []Finding{problem("containerd %s runs without its CRI plugin: the kubelet cannot use it", v.Version).because(err).
			advise("take \"cri\" out of disabled_plugins in " + bootstrap.ContainerdConfig + ", or mend what the plugin says; " +
				"then `systemctl restart containerd`")}
	}
	whose := ""
	if s := h.node.saved; s != nil && s.Spec.Node.UsesRuntime() {
		whose = ", which was here before"
	}
	out := []Finding{ok("containerd %s answers, with its CRI plugin%s", v.Version, whose)}
	return append(out, canStartPods(ctx, conn)...)
}

// canStartPods looks at what the runtime itself says, and for the image that every pod begins with, which containerd pins.
func canStartPods(ctx context.Context, conn *grpc.ClientConn) []Finding {
	var out []Finding
	s, err := cri.NewRuntimeServiceClient(conn).Status(ctx, &cri.StatusRequest{})
	if err != nil {
		return []Finding{problem("containerd does not say how it is").because(err)}
	}
	for _, cond := range s.Status.Conditions {
		if !cond.Status && (cond.Type == cri.RuntimeReady || cond.Type == cri.NetworkReady) {
			out = append(out, problem("containerd says that it is not ready for pods: no %s", cond.Type).why(cond.Message))
		}
	}
	r, err := cri.NewImageServiceClient(conn).ListImages(ctx, &cri.ListImagesRequest{})
	switch {
	case err != nil:
		out = append(out, problem("containerd does not list its images").because(err))
	case !slices.ContainsFunc(r.Images, func(i *cri.Image) bool { return i.Pinned }):
		out = append(out, problem("the sandbox image is not there: no pod can start").
			why("containerd has no image that it keeps for that").
			advise("import the image that `sandbox` names in "+bootstrap.ContainerdConfig+", "+
				"or make this host a node again: `slipway reset`, then `slipway join`"))
	}
	return out
}
