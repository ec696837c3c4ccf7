package preflight

import "context"

// bundle looks whether kube-proxy's image, which is of the cluster's version on all nodes, will be there without a registry.
func bundle(_ context.Context, f Facts) []Finding {
	if f.BundleVersion == f.ClusterVersion {
		return nil
	}
	return []Finding{problem("the cluster runs kube-proxy %s on each node, which a bundle of Kubernetes %s does not have",
		f.ClusterVersion, f.BundleVersion)}
}
