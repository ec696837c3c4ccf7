package preflight_test

import (
	"testing"

	"slipway.dev/slipway/bootstrap/preflight"
)

func TestBundle(t *testing.T) {
	expect(t, look(t, "bundle", preflight.Facts{BundleVersion: "v1.37.1", ClusterVersion: "v1.37.1"}))
	expect(t, look(t, "bundle", preflight.Facts{BundleVersion: "v1.36.4", ClusterVersion: "v1.37.1"}), problem("kube-proxy v1.37.1 on each node, which a bundle of Kubernetes v1.36.4"))
}
