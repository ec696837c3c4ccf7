// Package images reads a bundle, the OCI image layout with everything a node needs, and puts its bytes to use: host
// binaries into a file system, container images into a containerd, and both into the directories that machines on
// this computer share. No byte is used before it was checked against its digest.
//
// Not in it: making a bundle (images/build), which versions go into one (images/pins), machines, Kubernetes.
package images
