// Package addons is what runs inside a cluster from its first minute: kube-proxy, Calico and
// CoreDNS.
//
// Render turns a Config into objects without touching anything. kube-proxy's manifest is our own
// (manifests/, filled in by typed code); Calico's and CoreDNS's are upstream's, read from the
// bundle and changed by patches. A patch whose target upstream no longer has is an error that names
// the object and the field: a manifest that moved on must never be applied half patched.
//
// Apply sends the objects by server-side apply, and WaitReady watches until the workloads serve.
//
// Not in it: kubeadm's ConfigMaps and RBAC (bootstrap), the images themselves and where manifests
// come from (images), deciding when to apply (bootstrap), printing (cmd).
package addons
