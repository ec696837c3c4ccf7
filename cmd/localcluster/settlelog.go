package localcluster

import (
	"context"
	"errors"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// explain adds to what was waited for in vain the end of the log that says why, from the first node that it is about.
func (s *settling) explain(ctx context.Context, err error) {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return // somebody interrupted it
	}
	ctx = context.WithoutCancel(ctx)
	for _, f := range fault.All(err) {
		var node, step string
		switch f.ID {
		case "control-plane-not-ready":
			node, step = s.firstUnhealthy(ctx)
		case "node-not-ready":
			node, step = s.firstNotReady(ctx), "node-ready"
		}
		i := slices.IndexFunc(s.machines, func(m *local.Machine) bool { return m.Name() == node && m.Running() })
		if i < 0 {
			continue
		}
		if f.Log = hostOf(s.machines[i]).LogEnd(ctx, step); f.Log != nil {
			f.Log.Of += " on " + node
		}
	}
}

func (s *settling) firstUnhealthy(ctx context.Context) (node, step string) {
	for _, part := range s.controlPlane(ctx, s.machines) {
		if part.Healthy || !s.whole(part.Node) {
			continue
		}
		if part.Name == "etcd" || part.Name == "kube-apiserver" {
			return part.Node, "api"
		}
		return part.Node, "controllers"
	}
	return "", ""
}

func (s *settling) firstNotReady(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, text := range s.notReady(ctx) {
		if name, ok := strings.CutPrefix(text, "node "); ok {
			return name
		}
	}
	return ""
}
