// Package discovery is how a host that wants to join finds a cluster and comes to trust it, by kubeadm's protocol, so
// that it works with clusters made by Slipway and by kubeadm alike.
//
// With a token: the host reads the ConfigMap cluster-info from an address that it does not trust yet, checks that the
// kubeconfig in it is signed with the token, checks the cluster's authority against the hashes that came with the
// token, and reads it again over TLS verified by that authority. Or with a discovery file: a kubeconfig that the
// administrator brought to the host.
//
// It is stricter than kubeadm in one point. When cluster-info has several authorities, only those that match a hash
// vouch for the second reading: else whoever has the token could put an authority of their own beside the right one.
//
// Not in it: making, storing and removing tokens in a cluster, the kubelet's TLS bootstrap, the certificates of a
// control plane that joins, discovery files behind a URL. It writes nothing to the host.
package discovery
