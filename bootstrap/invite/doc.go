// Package invite is what a cluster hands out to hosts that may join it, in kubeadm's forms: bootstrap tokens, the control
// planes' shared secrets encrypted in a Secret, and the command that uses them.
//
// Not in it: how a host finds and trusts the cluster (package discovery), what it does then (package server).
package invite
