// Package cri looks at a containerd that an administrator has on a host: whether a node can use it as it is, what runs in it,
// and the pods that a node has had there. It changes neither its configuration nor its unit.
package cri
