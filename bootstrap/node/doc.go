// Package node makes the host it runs on a node of a cluster. [Steps] lists everything that this takes, top to
// bottom; [Converge] runs the list under the host's lock. Layout, names and ConfigMaps are kubeadm's, so that what
// admins and their tools know keeps working.
//
// Not in it: how steps are run and recorded (package engine), how keys are made (package certs), what runs in the
// cluster beyond its control plane (package addons), other hosts (package fleet).
package node
